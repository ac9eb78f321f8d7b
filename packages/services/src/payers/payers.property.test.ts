import type { AccountMode } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { isAppError } from "@proliferate/shared/errors";
import { addDecimals, normalizeDecimal, subtractDecimals } from "@proliferate/shared/money";
import fc from "fast-check";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { auditCompleteness } from "../billing/audit.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { changeOrgSettings } from "../billing-gate/settings.ts";
import { settle } from "../settlement/settlement.ts";
import { RATE } from "../../test/test-balances.ts";
import { checkInvariant, checkLedger, insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { setPayer, unsetPayer } from "./payers.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const TEAMS = ["t1", "t2", "t3"] as const;
const ORGS = ["org_a", "org_b"] as const;
const ANYBODY = [...TEAMS, ...ORGS] as const;

/** Amounts are micro-USD. A spend without a step `sync` behind it is billed by whatever holds at the next one. */
type Step =
  | { readonly do: "spend"; readonly who: string; readonly micros: number }
  | { readonly do: "correct"; readonly row: number; readonly micros: number }
  | { readonly do: "sync" | "settle" }
  | { readonly do: "pay"; readonly team: string; readonly org: string }
  | { readonly do: "unset"; readonly team: string }
  | { readonly do: "mode"; readonly org: string; readonly mode: AccountMode };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("spend" as const),
      who: fc.constantFrom(...ANYBODY),
      micros: fc.integer({ min: 1, max: 900_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("correct" as const), row: fc.nat(20), micros: fc.integer({ min: 1, max: 900_000 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("sync" as const, "settle" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pay" as const), team: fc.constantFrom(...TEAMS), org: fc.constantFrom(...ORGS) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unset" as const), team: fc.constantFrom(...TEAMS) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("mode" as const),
      org: fc.constantFrom(...ORGS, "t1"),
      mode: fc.constantFrom<AccountMode[]>("settled", "kept"),
    }),
  },
);

/** What must come out, kept beside the product: who pays, what is kept, and for each row who was billed for it. */
class Model {
  readonly payers = new Map<string, string>();
  readonly modes = new Map<string, AccountMode>();
  readonly rows: { readonly id: string; readonly who: string; micros: number; billedTo: string | undefined; billedMicros: number }[] = [];
  readonly kept = new Map<string, number>();

  payer = (team: string): string => this.payers.get(team) ?? team;

  sync(): void {
    for (const row of this.rows) {
      row.billedTo ??= this.payer(row.who);
      if (this.modes.get(row.billedTo) === "kept")
        this.kept.set(row.billedTo, (this.kept.get(row.billedTo) ?? 0) + row.micros - row.billedMicros);
      row.billedMicros = row.micros;
    }
  }

  /** Micro-USD of all rows that were billed to the org. */
  billed = (org: string): number => this.rows.filter((row) => row.billedTo === org).reduce((sum, row) => sum + row.billedMicros, 0);
}

async function take(one: Step, model: Model, sink: ScriptedSink): Promise<void> {
  const { db } = database;
  switch (one.do) {
    case "spend": {
      const [id = ""] = await insertSpendRows(db, [
        { orgId: one.who, spendUsd: String(one.micros / 1e6), ageMs: 1_000 + model.rows.length },
      ]);
      model.rows.push({ id, who: one.who, micros: one.micros, billedTo: undefined, billedMicros: 0 });
      return;
    }
    case "correct": {
      const row = model.rows[one.row];
      if (row === undefined) return;
      row.micros = one.micros;
      await sql`update "LiteLLM_SpendLogs" set spend = ${one.micros / 1e6} where request_id = ${row.id}`.execute(db);
      return;
    }
    case "sync":
      await syncSpend(db, { rate: RATE });
      return model.sync();
    case "settle":
      await settle(db, { sink });
      return;
    case "pay":
      await setPayer(db, one.team, one.org);
      return void model.payers.set(one.team, one.org);
    case "unset":
      await unsetPayer(db, one.team);
      return void model.payers.delete(one.team);
    case "mode":
      await changeOrgSettings(db, one.org, { mode: one.mode });
      model.modes.set(one.org, one.mode);
  }
}

test("with any payers and modes, what each payer has on the ledger is what the source says of its teams at the time; what was kept reaches no sink", async () => {
  let refusals = 0;
  let keptOnes = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 12, maxLength: 40 }), async (steps) => {
      await sql`truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, org_gates, billing_accounts, settlement_batches, settlement_circuits, payers cascade`.execute(
        database.db,
      );
      const [model, sink] = [new Model(), new ScriptedSink()];
      for (const one of steps) {
        await take(one, model, sink).catch((error: unknown) => {
          if (!isAppError(error, "account_mode_refused") && !isAppError(error, "payer_refused")) throw error;
          refusals += 1;
        });
      }
      await take({ do: "sync" }, model, sink);
      await take({ do: "settle" }, model, sink);

      await checkInvariant(database.db);
      await checkLedger(database.db);
      expect(
        (await auditCompleteness(database.db, { from: new Date(0), to: new Date(Date.now() + 60_000), heal: false, rate: RATE })).gaps,
      ).toEqual([]);
      const { rows } = await sql<{ org_id: string; micros: number; kept: string; rest: string }>`
        select a.org_id, round(coalesce(e.usd, 0) * 1000000)::int as micros, trim_scale(a.kept_credits) as kept, trim_scale(a.open_credits + a.carry_credits) as rest
        from billing_accounts a left join (select org_id, sum(spend_usd) as usd from billing_events group by org_id) e using (org_id)`.execute(
        database.db,
      );
      for (const { org_id: org, micros, kept, rest } of rows) {
        expect([org, micros]).toEqual([org, model.billed(org)]);
        expect([org, kept]).toEqual([org, credits(model.kept.get(org) ?? 0)]);
        const sent = subtractDecimals(subtractDecimals(credits(micros), kept), rest);
        expect([org, sink.total(org)]).toEqual([org, addDecimals(sent)]);
        keptOnes += kept === "0" ? 0 : 1;
      }
    }),
    { numRuns: 20 },
  );
  // It would prove nothing where no account was ever kept, and nothing ever refused.
  expect(refusals).toBeGreaterThan(0);
  expect(keptOnes).toBeGreaterThan(0);
});

/** 300 credits for one USD. */
function credits(micros: number): string {
  return normalizeDecimal(subtractDecimals(String((micros * 3) / 1e4), "0"));
}
