import { whole } from "../figures.ts";

export interface BillingFigures {
  readonly machine: string;
  readonly date: string;
  readonly rows: number;
  readonly orgs: number;
  readonly rounds: number;
  readonly bareRowsPerSecond: number;
  readonly keyedRowsPerSecond: number;
  readonly shapedRowsPerSecond: number;
  readonly ingestRowsPerSecond: number;
  readonly deliveredRowsPerSecond: number;
  readonly originalRowsPerSecond: number;
  readonly ingestToBare: number;
  readonly ingestToKeyed: number;
  readonly ingestToShaped: number;
  /** Written to the log of PostgreSQL for a row. */
  readonly bareWalBytes: number;
  readonly ingestWalBytes: number;
  readonly deliveredToOriginal: number;
  readonly autumnCallsPerFlush: number;
  readonly smallHistory: number;
  readonly largeHistory: number;
  readonly steadySmallSeconds: number;
  readonly steadyLargeSeconds: number;
  readonly steadyRatio: number;
  readonly workerMemoryMb: number | undefined;
}

export function describeFigures(figures: BillingFigures): string {
  const { rows, orgs, rounds } = figures;
  return `${figures.date}; ${figures.machine}. ${whole(rows)} spend rows of ${orgs} orgs, median of ${rounds} interleaved rounds.

| measure | result | aim |
|---|---|---|
| bare \`INSERT … SELECT\` into one table, no key, no index | ${whole(figures.bareRowsPerSecond)} rows/s | |
| the same into a table with a unique key | ${whole(figures.keyedRowsPerSecond)} rows/s | |
| the same into empty tables of the ledger's own shape: the limit of this ledger | ${whole(figures.shapedRowsPerSecond)} rows/s | |
| spend rows → ledger | ${whole(figures.ingestRowsPerSecond)} rows/s | ≥ 50,000 |
| — of the limit of this ledger | ${(figures.ingestToShaped * 100).toFixed(0)} % | ≥ 70 % |
| — of the table with a unique key | ${(figures.ingestToKeyed * 100).toFixed(0)} % | |
| — of the bare table | ${(figures.ingestToBare * 100).toFixed(0)} % | |
| spend rows → delivered batches | ${whole(figures.deliveredRowsPerSecond)} rows/s | |
| the original's way (a transaction a row, an HTTP call an event) | ${whole(figures.originalRowsPerSecond)} rows/s | |
| — delivered, in times of it | ${figures.deliveredToOriginal.toFixed(0)} × | ≥ 50 × |
| Autumn calls a flush | ${figures.autumnCallsPerFlush} for ${orgs} active orgs | orgs, not events |
| steady pass over ${whole(figures.smallHistory)} rows | ${(figures.steadySmallSeconds * 1_000).toFixed(0)} ms | |
| steady pass over ${whole(figures.largeHistory)} rows | ${(figures.steadyLargeSeconds * 1_000).toFixed(0)} ms, ${figures.steadyRatio.toFixed(2)} × | ≤ 1.3 × |
| worker memory, most | ${figures.workerMemoryMb ?? "?"} MB | < 200 MB |

What limits: a row is two rows here (its key, for ever unique; its event) and five index entries, ${whole(figures.ingestWalBytes)} bytes of write-ahead log
against ${whole(figures.bareWalBytes)} of the bare table. A table with nothing but a unique key is at ${((100 * figures.keyedRowsPerSecond) / figures.bareRowsPerSecond).toFixed(0)} % of the bare one already. All of it is
one connection's work.
`;
}
