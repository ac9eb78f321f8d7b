import type { RowFact } from "@proliferate/access/test/limit-model/facts";
import type pg from "pg";
import type { PlannedRow } from "./schedule.ts";
import type { VirtualClock } from "@proliferate/db/test/virtual-clock";

/** Engines that write spend rows: at once, or in transactions that commit late and out of order. */
export class SpendWriters {
  /** By request id: what the source holds by now. */
  readonly committed = new Map<string, PlannedRow>();
  /** By the id of the row that they correct; negative. */
  readonly refunds = new Map<string, string>();
  /** When the request of each row began, by its id. */
  readonly startsMs = new Map<string, number>();
  /** The latest of all, of rows that are not committed, too. */
  latestStartMs = 0;
  readonly #clients: readonly pg.Client[];
  readonly #clock: VirtualClock;
  readonly #open = new Map<number, PlannedRow[]>();
  readonly #adopted = new Set<string>();

  /** One client for each transaction of the schedule, and one more. */
  constructor(clients: readonly pg.Client[], clock: VirtualClock) {
    this.#clients = clients;
    this.#clock = clock;
  }

  /** As LiteLLM does it: a row whose id is there already is skipped. */
  async write(transaction: number | undefined, rows: readonly PlannedRow[]): Promise<void> {
    const others = [...this.#open].filter(([index]) => index !== transaction).flatMap(([, held]) => held.map((row) => row.requestId));
    // An id in another open transaction would make this writer wait for that one, and the schedule with it.
    const free = rows.filter((row) => !others.includes(row.requestId));
    if (transaction === undefined) return this.#commit(this.#noteStarts(await insert(this.#plain(), free, this.#clock.timestamp())));
    const client = this.#clients[transaction] as pg.Client;
    const held = this.#open.get(transaction) ?? [];
    if (!this.#open.has(transaction)) await client.query("begin");
    this.#open.set(transaction, held);
    held.push(...this.#noteStarts(await insert(client, free, this.#clock.timestamp())));
  }

  /** Of rows that were just written. */
  #noteStarts(rows: readonly PlannedRow[]): readonly PlannedRow[] {
    for (const row of rows) {
      const startMs = this.#clock.nowMs - row.ageMs;
      this.latestStartMs = Math.max(this.latestStartMs, startMs);
      this.startsMs.set(row.requestId, startMs);
    }
    return rows;
  }

  /** Takes in the rows that our own proxies settled, with their corrections: as they are, they have to be billed. Nobody else changes them. */
  adopt(rows: readonly RowFact[]): void {
    const bases = new Map(rows.map((row) => [row.request_id, row]));
    for (const row of rows) {
      const requestId = row.request_id.replace(/:correction$/, "");
      if (requestId !== row.request_id && bases.has(requestId)) {
        this.refunds.set(requestId, row.spend);
        continue;
      }
      this.committed.set(requestId, { requestId, org: row.team_id, spendUsd: row.spend, ageMs: 0 });
      this.startsMs.set(requestId, row.start_ms);
      this.#adopted.add(requestId);
    }
    this.latestStartMs = Math.max(this.latestStartMs, this.#clock.nowMs);
  }

  /** Corrects the amount of one of the rows in place. */
  async reprice(roll: number, spendUsd: string): Promise<void> {
    const row = this.#correctable(roll);
    if (!row) return;
    await this.#plain().query({
      name: "reprice",
      text: `update "LiteLLM_SpendLogs" set spend = $2::float8 where request_id = $1`,
      values: [row.requestId, spendUsd],
    });
    this.committed.set(row.requestId, { ...row, spendUsd });
  }

  /** Gives back a share of what one of the rows cost, in a row of its own; once a row. */
  async refund(roll: number, share: number): Promise<void> {
    const row = this.#correctable(roll);
    if (!row) return;
    const spendUsd = String(-Number(row.spendUsd) * share);
    await insert(this.#plain(), [{ ...row, requestId: `${row.requestId}:correction`, spendUsd }], this.#clock.timestamp());
    this.refunds.set(row.requestId, spendUsd);
  }

  /** A committed row that can be billed and was not refunded: an amount that changes after its refund has no right answer. */
  #correctable(roll: number): PlannedRow | undefined {
    const rows = [...this.committed.values()].filter(
      (row) => isBillable(row) && !this.refunds.has(row.requestId) && !this.#adopted.has(row.requestId),
    );
    return rows[Math.floor(roll * rows.length)];
  }

  /** A connection outside of any transaction. */
  #plain(): pg.Client {
    return this.#clients.at(-1) as pg.Client;
  }

  async end(transaction: number, how: "commit" | "rollback"): Promise<void> {
    const rows = this.#open.get(transaction);
    if (!rows) return;
    this.#open.delete(transaction);
    await this.#clients[transaction]?.query(how);
    if (how === "commit") this.#commit(rows);
  }

  async endAll(): Promise<void> {
    for (const transaction of [...this.#open.keys()]) await this.end(transaction, "commit");
  }

  #commit(rows: readonly PlannedRow[]): void {
    for (const row of rows) this.committed.set(row.requestId, row);
  }
}

async function insert(client: pg.Client, rows: readonly PlannedRow[], now: string): Promise<readonly PlannedRow[]> {
  const { rows: inserted } = await client.query<{ request_id: string }>({
    name: "write",
    text: `
      insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, team_id, "user", spend, model, prompt_tokens, completion_tokens, total_tokens, "startTime", "endTime")
      select "requestId", 'anthropic_messages', 'hash_of_a_key', org, 'session_1', "spendUsd"::float8, 'anthropic/claude-sonnet-4-5', 10, 5, 15,
        ($2::timestamptz - "ageMs" * interval '1 millisecond') at time zone 'UTC', $2::timestamptz at time zone 'UTC'
      from json_to_recordset($1) as r ("requestId" text, org text, "spendUsd" text, "ageMs" float8)
      on conflict (request_id) do nothing
      returning request_id`,
    values: [JSON.stringify(rows), now],
  });
  const isNew = new Set(inserted.map((row) => row.request_id));
  // Of two rows with one id in one statement, the first is kept.
  return rows.filter((row) => isNew.delete(row.requestId));
}

/** What the product promises to bill without a person; everything else goes to review. */
export function isBillable(row: PlannedRow): boolean {
  const spendUsd = Number(row.spendUsd);
  return row.requestId !== "" && row.org !== null && row.org !== "" && spendUsd >= 0 && spendUsd <= 1_000_000;
}
