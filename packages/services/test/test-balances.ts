import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import type { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { sql } from "kysely";
import { syncSpend } from "../src/billing/spend-sync.ts";
import { reconcileBalance, type ReconcileReport, type ReconcileTrigger } from "../src/balance/reconcile-balance.ts";
import type { RemoteBalance, RemoteBalances, RemoteSubscription } from "../src/balance/remote-balance.ts";

/** For tests only: 300 credits for one USD of provider cost. */
export const RATE = { markup: "3", creditsPerUsd: "100" } as const;

/** For tests only: a sink's balances in memory. `during` runs in the middle of the next reading, after its figure was taken. */
export class ScriptedBalances implements RemoteBalances {
  readonly granted = new Map<string, DecimalText>();
  readonly used = new Map<string, DecimalText>();
  readonly forgiven = new Map<string, DecimalText>();
  nextResetAt: Date | null = null;
  readonly subscriptions = new Map<string, RemoteSubscription>();
  /** Set: every reading fails with it. */
  failure: AppError | undefined;
  readings = 0;
  during: (() => Promise<unknown>) | undefined;

  grant(orgId: string, credits: DecimalText): void {
    this.granted.set(orgId, addDecimals(this.granted.get(orgId) ?? "0", credits));
  }

  take(orgId: string, credits: DecimalText): void {
    this.used.set(orgId, addDecimals(this.used.get(orgId) ?? "0", credits));
  }

  /** As Autumn does with a debt when credits come: they are left whole. */
  forgive(orgId: string, credits: DecimalText): void {
    this.forgiven.set(orgId, addDecimals(this.forgiven.get(orgId) ?? "0", credits));
  }

  async readBalance(orgId: string): Promise<RemoteBalance> {
    this.readings += 1;
    if (this.failure) throw this.failure;
    const grantedCredits = this.granted.get(orgId);
    if (grantedCredits === undefined) return { kind: "unknown", problem: "Autumn does not know this customer" };
    const forgivenCredits = this.forgiven.get(orgId) ?? "0";
    const remainingCredits = addDecimals(subtractDecimals(grantedCredits, this.used.get(orgId) ?? "0"), forgivenCredits);
    const during = this.during;
    this.during = undefined;
    await during?.();
    return {
      kind: "known",
      remainingCredits,
      grantedCredits,
      forgivenCredits,
      nextResetAt: this.nextResetAt,
      subscription: this.subscriptions.get(orgId) ?? null,
    };
  }

  reconcile(db: DatabaseClient, orgId: string, trigger: ReconcileTrigger = "on_demand"): Promise<ReconcileReport> {
    return reconcileBalance(db, orgId, { remote: this, rate: RATE, trigger });
  }
}

/** For tests only: writes one spend row as an engine does. */
export async function insertSpend(
  db: DatabaseClient,
  row: { readonly orgId: string; readonly usd: DecimalText; readonly sessionId?: string; readonly keyHash?: string },
): Promise<void> {
  await sql`
    insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, team_id, "user", spend, model, prompt_tokens, completion_tokens, total_tokens, "startTime", "endTime")
    values (${randomUUID()}, 'anthropic_messages', ${row.keyHash ?? "hash"}, ${row.orgId}, ${row.sessionId ?? "session"}, ${row.usd}::float8, 'claude-sonnet-4-5', 10, 5, 15,
      billing_now() at time zone 'UTC', billing_now() at time zone 'UTC')`.execute(db);
}

/** For tests only: a spend row, and its event by the real ingest. */
export async function spend(db: DatabaseClient, row: Parameters<typeof insertSpend>[1]): Promise<void> {
  await insertSpend(db, row);
  await syncSpend(db, { rate: RATE });
}

export async function balanceOf(db: DatabaseClient, orgId: string): Promise<DecimalText | null | undefined> {
  const result = await sql<{
    credits: string | null;
  }>`select trim_scale(balance_credits) as credits from billing_accounts where org_id = ${orgId}`.execute(db);
  return result.rows[0]?.credits;
}
