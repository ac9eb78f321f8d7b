import type pg from "pg";
import type { PlannedRow } from "./schedule.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Engines that write spend rows: at once, or in transactions that commit late and out of order. */
export class SpendWriters {
  /** By request id: what the source holds by now. */
  readonly committed = new Map<string, PlannedRow>();
  readonly #clients: readonly pg.Client[];
  readonly #clock: VirtualClock;
  readonly #open = new Map<number, PlannedRow[]>();

  constructor(clients: readonly pg.Client[], clock: VirtualClock) {
    this.#clients = clients;
    this.#clock = clock;
  }

  /** As LiteLLM does it: a row whose id is there already is skipped. */
  async write(transaction: number | undefined, rows: readonly PlannedRow[]): Promise<void> {
    const others = [...this.#open].filter(([index]) => index !== transaction).flatMap(([, held]) => held.map((row) => row.requestId));
    // An id in another open transaction would make this writer wait for that one, and the schedule with it.
    const free = rows.filter((row) => !others.includes(row.requestId));
    const unused = [0, 1, 2].find((index) => !this.#open.has(index));
    const index = transaction ?? unused;
    if (index === undefined) return;
    const client = this.#clients[index];
    if (!client) return;
    if (transaction !== undefined && !this.#open.has(index)) {
      await client.query("begin");
      this.#open.set(index, []);
    }
    const written = await insert(client, free, this.#clock.timestamp());
    if (transaction === undefined) this.#commit(written);
    else this.#open.get(index)?.push(...written);
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
