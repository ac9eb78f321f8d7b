import { describeMachine, whole } from "../figures.ts";
import { BACKLOG_BATCHES } from "./backlog.ts";
import { FIRST_RUN } from "./before.ts";
import { ACTIVE_ORGS, HOUR_BATCHES, HOUR_ROWS, LIVE_SESSIONS, sizeOf } from "./fill.ts";
import { MEASURED_RUNS, type Measured } from "./recorder.ts";
import { PROCESSES, type ScaleStatement } from "./statements.ts";

export interface StatementFigures {
  readonly statement: Omit<ScaleStatement, "run">;
  /** At a tenth of the rows, and at all of them. */
  readonly small: Measured;
  readonly large: Measured;
  /** As it was asked at commit bcfda44, at all rows; where it was replaced. */
  readonly before: Measured | undefined;
  /** At all rows, with a backlog; of those that look at what is under way. */
  readonly backlog: Measured | undefined;
}

export interface ScaleFigures {
  readonly spendRows: number;
  readonly fillSeconds: number;
  /** Of the database that was filled. */
  readonly bytes: number;
  /** Load of the machine for a minute, at the beginning or the end, whichever is higher. */
  readonly load: number;
  readonly statements: readonly StatementFigures[];
}

/** Time counts from here on: what takes less is taken for this much, as a ratio of two short times tells of caches only. */
const FLOOR_MS = 5;
const FLOOR_ROWS = 100;
const FLOOR_PAGES = 20;
const SLOW_MS = 50;
const GROWTH_AIM = 1.3;

const ms = (value: number): string => (value < 10 ? value.toFixed(2) : whole(value));

/** What is read at all rows may be so much more than at a tenth and still be called the same. */
const SAME = 1.01;

/** Pages, but for one of each descent into a B-tree, which is a level deeper when there are ten times as many rows. */
const flatPages = ({ buffers, searches }: Measured): number => Math.max(buffers - searches, 0);

/**
 * How much dearer at ten times the rows: the worst of rows read, pages read and time, each from its floor on. A statement that reads the
 * same rows and pages at both sizes does the same work at both: then two times differ by what else the machine did, and do not count.
 */
function growthOf({ small, large }: Pick<StatementFigures, "small" | "large">): number {
  const read = Math.max(large.rows / Math.max(small.rows, FLOOR_ROWS), flatPages(large) / Math.max(small.buffers, FLOOR_PAGES));
  const readsTheSame = large.rows <= small.rows * SAME && flatPages(large) <= small.buffers * SAME;
  return readsTheSame ? read : Math.max(read, large.milliseconds / Math.max(small.milliseconds, FLOOR_MS));
}

/** Its time at ten times the rows, if it goes on growing as it did. */
const extrapolate = (figures: StatementFigures): number => figures.large.milliseconds * Math.max(1, growthOf(figures));

/** The share of one core that the idle deployment takes: calls a minute times their time. */
function idleLoad(statements: readonly StatementFigures[]): number {
  return statements.reduce((sum, { statement, large }) => sum + ((statement.idleCallsAMinute ?? 0) * large.milliseconds) / 60_000, 0);
}

const names = (list: readonly StatementFigures[]): string =>
  list.length === 0 ? "none" : list.map((one) => `\`${one.statement.name}\``).join(", ");

const slowest = (list: readonly StatementFigures[]): string => {
  const [first] = list.toSorted((a, b) => extrapolate(b) - extrapolate(a));
  return first === undefined ? "none" : `${ms(extrapolate(first))} ms, \`${first.statement.name}\``;
};

const EXPLANATION = `Each statement runs warm, ${MEASURED_RUNS} times, and the median counts; time is that of planning and of running. Growth is the worst of three ratios: rows read,
where less than ${FLOOR_ROWS} is taken for ${FLOOR_ROWS}; pages read, less than ${FLOOR_PAGES} taken for ${FLOOR_PAGES}, and without one page for each descent into a B-tree, which is a
level deeper when its table does tenfold; and time, less than ${FLOOR_MS} ms taken for ${FLOOR_MS}. Where rows and pages are the same at both sizes, within ${whole((SAME - 1) * 100)} %, growth is that
of rows and pages alone: the work is the same, so two times that differ tell of the machine, and stand beside it to be seen. Figures at a tenth stand before the arrow.`;

export function describeFigures(figures: ScaleFigures): string {
  const { statements, spendRows } = figures;
  const size = sizeOf(spendRows);
  const slow = statements.filter((one) => one.large.milliseconds > SLOW_MS);
  const growing = statements.filter((one) => growthOf(one) > GROWTH_AIM);
  const slowBacklog = statements.filter((one) => (one.backlog?.milliseconds ?? 0) > SLOW_MS);
  return `${new Date().toISOString().slice(0, 10)}; ${describeMachine()}; load ${figures.load.toFixed(1)}. ${whole(spendRows)} spend rows (a tenth of them in the last 24 h), ${whole(size.keys)} keys,
${whole(size.endedSessions)} ended sessions, ${whole(size.batches)} batches, ${whole(size.orgs)} organizations: ${(figures.bytes / 2 ** 30).toFixed(1)} GB, filled in ${whole(figures.fillSeconds)} s; and a tenth of all that. Activity is the same at both: ${whole(ACTIVE_ORGS)} organizations
that spend, ${whole(LIVE_SESSIONS)} live keys, ${whole(HOUR_ROWS)} rows and ${whole(HOUR_BATCHES)} batches in the last hour. Deployment: ${PROCESSES.proxies} proxies, ${PROCESSES.workers} workers, ${PROCESSES.gateways} gateways, each worker and gateway scraped four times a minute.
${EXPLANATION}

| measure | before (${FIRST_RUN.label}) | now | aim |
|---|---|---|---|
| PostgreSQL while nobody does anything | ${FIRST_RUN.idle} | ${(idleLoad(statements) * 100).toFixed(1)} % of one core | < 5 % |
| statements over ${SLOW_MS} ms | ${FIRST_RUN.slow} | ${names(slow)} | none |
| statements that grow by more than ${GROWTH_AIM} × when the history does tenfold | ${FIRST_RUN.growing} | ${names(growing)} | none |
| the slowest, extrapolated to ${whole(spendRows * 10)} rows | | ${slowest(statements)} | |
| over ${SLOW_MS} ms with ${whole(BACKLOG_BATCHES)} batches due | | ${names(slowBacklog)} | none |

| statement | who, when | calls a minute, idle | before (bcfda44) | ms | rows read | pages read | growth | ms at ${whole(spendRows * 10)} rows | by |
|---|---|---|---|---|---|---|---|---|---|
${statements.map(describeStatement).join("\n")}

With ${whole(BACKLOG_BATCHES)} batches due, at ${whole(spendRows)} rows:

| statement | ms | rows read | pages read |
|---|---|---|---|
${statements.flatMap((one) => (one.backlog === undefined ? [] : [describeBacklog(one.statement.name, one.backlog)])).join("\n")}`;
}

function describeStatement(figures: StatementFigures): string {
  const { statement, small, large, before } = figures;
  const calls = statement.idleCallsAMinute === null ? "—" : whole(statement.idleCallsAMinute);
  const was = before === undefined ? "" : `${ms(before.milliseconds)} ms, ${whole(before.rows)} rows`;
  return `| \`${statement.name}\` | ${statement.caller} | ${calls} | ${was} | ${ms(small.milliseconds)} → ${ms(large.milliseconds)} | ${whole(small.rows)} → ${whole(large.rows)} | ${whole(small.buffers)} → ${whole(large.buffers)} | ${growthOf(figures).toFixed(2)} × | ${ms(extrapolate(figures))} | ${large.plan} |`;
}

const describeBacklog = (name: string, { milliseconds, rows, buffers }: Measured): string =>
  `| \`${name}\` | ${ms(milliseconds)} | ${whole(rows)} | ${whole(buffers)} |`;
