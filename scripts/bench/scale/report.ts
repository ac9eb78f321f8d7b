import { describeMachine, whole } from "../figures.ts";
import type { Measured } from "./recorder.ts";
import { PROCESSES, type ScaleStatement } from "./statements.ts";

export interface StatementFigures {
  readonly statement: Omit<ScaleStatement, "run">;
  /** At a tenth of the rows, and at all of them. */
  readonly small: Measured;
  readonly large: Measured;
  /** As it was asked at commit bcfda44, at all rows; where it was replaced. */
  readonly before: Measured | undefined;
}

export interface ScaleFigures {
  readonly spendRows: number;
  readonly fillSeconds: number;
  readonly statements: readonly StatementFigures[];
}

/** Below this a ratio of two times says nothing; the ratio of pages read then counts. */
const MEASURABLE_MS = 5;
const SLOW_MS = 50;
const GROWTH_AIM = 1.3;

const ms = (value: number): string => (value < 10 ? value.toFixed(2) : whole(value));

/** How much dearer at ten times the rows: by time, where that can be told, else by pages read. */
export function growthOf({ small, large }: StatementFigures): number {
  return large.milliseconds >= MEASURABLE_MS
    ? large.milliseconds / Math.max(small.milliseconds, 0.1)
    : large.buffers / Math.max(small.buffers, 20);
}

/** The share of one core that the idle deployment takes: calls a minute times their time. */
export function idleLoad(statements: readonly StatementFigures[]): number {
  return statements.reduce((sum, { statement, large }) => sum + ((statement.idleCallsAMinute ?? 0) * large.milliseconds) / 60_000, 0);
}

const names = (list: readonly StatementFigures[]): string =>
  list.length === 0 ? "none" : list.map((one) => `\`${one.statement.name}\``).join(", ");

export function describeFigures(figures: ScaleFigures): string {
  const { statements, spendRows } = figures;
  const slow = statements.filter((one) => one.large.milliseconds > SLOW_MS);
  const growing = statements.filter((one) => growthOf(one) > GROWTH_AIM);
  const rows = statements.map((one) => {
    const { statement, small, large, before } = one;
    const calls = statement.idleCallsAMinute === null ? "—" : whole(statement.idleCallsAMinute);
    const was = before === undefined ? "" : `${ms(before.milliseconds)} ms, ${whole(before.rows)} rows`;
    return `| \`${statement.name}\` | ${statement.caller} | ${calls} | ${was} | ${ms(small.milliseconds)} | ${ms(large.milliseconds)} | ${growthOf(one).toFixed(2)} × | ${whole(large.rows)} | ${whole(large.buffers)} | ${large.plan} |`;
  });
  return `${new Date().toISOString().slice(0, 10)}; ${describeMachine()}. ${whole(spendRows)} spend rows (a tenth of them in the last 24 h), ${whole(spendRows / 10)} keys, ${whole(spendRows / 10)} ended sessions,
${whole(spendRows / 5)} batches, ${whole(spendRows / 200)} organizations, filled in ${whole(figures.fillSeconds)} s; and a tenth of all that. Activity is the same at both: ${whole(1_000)} organizations that spend, 2,000 live keys, 40,000 rows in the
last hour. Deployment: ${PROCESSES.proxies} proxies, ${PROCESSES.workers} workers, ${PROCESSES.gateways} gateways, each scraped four times a minute. Each statement runs warm; growth is of time, or of pages read where it takes less than ${MEASURABLE_MS} ms.

| measure | result | aim |
|---|---|---|
| PostgreSQL while nobody does anything | ${(idleLoad(statements) * 100).toFixed(1)} % of one core | < 5 % |
| statements over ${SLOW_MS} ms | ${names(slow)} | none |
| statements that grow by more than ${GROWTH_AIM} × when the history does tenfold | ${names(growing)} | none |
| the slowest, extrapolated to ${whole(spendRows * 10)} rows | ${ms(Math.max(...statements.map((one) => one.large.milliseconds * growthOf(one))))} ms | |

| statement | who, when | calls a minute, idle | before (bcfda44) | ms at a tenth | ms | growth | rows read | pages read | by |
|---|---|---|---|---|---|---|---|---|---|
${rows.join("\n")}`;
}
