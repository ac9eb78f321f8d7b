import type { Database, DatabaseClient } from "@proliferate/db";
import { Kysely, PostgresDialect, sql } from "kysely";
import type pg from "pg";
import { median } from "../figures.ts";

/** What PostgreSQL says that a statement did. */
export interface Measured {
  /** To plan it and to run it. */
  readonly milliseconds: number;
  /** Pages of 8 kB, from memory or disk. */
  readonly buffers: number;
  /** Rows that its scans read, those included that a filter threw away. */
  readonly rows: number;
  /** Descents into a B-tree; each costs a page more once the tree is a level deeper. */
  readonly searches: number;
  /** The scans that ran; months of the ledger as one. */
  readonly plan: string;
}

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Parent Relationship"?: string;
  readonly "Subplan Name"?: string;
  readonly "CTE Name"?: string;
  readonly "Index Searches"?: number;
  readonly "Actual Rows"?: number;
  readonly "Actual Loops"?: number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Shared Hit Blocks"?: number;
  readonly "Shared Read Blocks"?: number;
  readonly "Plans"?: readonly PlanNode[];
}

type Work = (db: DatabaseClient) => Promise<unknown>;

/** Runs of which the median is taken; one more comes before them, so that all are warm. */
export const MEASURED_RUNS = 5;

/**
 * Runs what the product runs and has PostgreSQL explain each of its statements: once to warm, then {@link MEASURED_RUNS} times, each in a
 * transaction that is rolled back. Statements of one function are added up; each figure is the median of the runs. Databases take turns,
 * run by run, so that what else the machine does meanwhile meets all of them.
 */
export async function measureBeside(
  databases: readonly { readonly client: pg.Client; readonly work: Work }[],
): Promise<readonly Measured[]> {
  const runs = databases.map((): Measured[] => []);
  for (let run = 0; run <= MEASURED_RUNS; run += 1)
    for (const [index, { client, work }] of databases.entries()) {
      const figures = await runOnce(client, work, run > 0);
      if (figures !== undefined) runs[index]?.push(figures);
    }
  return runs.map(findMiddle);
}

/** As {@link measureBeside}, in one database. */
export async function measure(client: pg.Client, work: Work): Promise<Measured> {
  const [figures] = await measureBeside([{ client, work }]);
  if (figures === undefined) throw new Error("one database has one set of figures");
  return figures;
}

async function runOnce(client: pg.Client, work: Work, explains: boolean): Promise<Measured | undefined> {
  const found: Measured[] = [];
  const query = async (text: string | { readonly text: string }, values?: readonly unknown[]): Promise<unknown> => {
    const statement = typeof text === "string" ? text : text.text;
    if (/^\s*(begin|commit|rollback|start transaction|savepoint|release|set transaction)/i.test(statement))
      return { rows: [], command: "SET" };
    if (explains) found.push(await explain(client, statement, values));
    return client.query(statement, values as unknown[]);
  };
  const pool = { connect: async () => ({ query, release: () => undefined }), end: async () => undefined };
  await client.query("begin");
  try {
    await work(new Kysely<Database>({ dialect: new PostgresDialect({ pool: pool as never }) }));
  } finally {
    await client.query("rollback");
  }
  return explains ? addUp(found) : undefined;
}

function findMiddle(runs: readonly Measured[]): Measured {
  const middle = (of: (one: Measured) => number): number => median(runs.map(of));
  return {
    milliseconds: middle((one) => one.milliseconds),
    buffers: middle((one) => one.buffers),
    rows: middle((one) => one.rows),
    searches: middle((one) => one.searches),
    plan: runs[0]?.plan ?? "",
  };
}

function addUp(found: readonly Measured[]): Measured {
  const sum = (of: (one: Measured) => number): number => found.reduce((total, one) => total + of(one), 0);
  return {
    milliseconds: sum((one) => one.milliseconds),
    buffers: sum((one) => one.buffers),
    rows: sum((one) => one.rows),
    searches: sum((one) => one.searches),
    plan: [...new Set(found.flatMap((one) => one.plan.split(", ")).filter((part) => part !== ""))].join(", "),
  };
}

interface Explained {
  readonly "Plan": PlanNode;
  readonly "Planning Time": number;
  readonly "Execution Time": number;
}

async function explain(client: pg.Client, statement: string, values: readonly unknown[] | undefined): Promise<Measured> {
  await client.query("savepoint explained");
  const { rows } = await client.query<{ "QUERY PLAN": readonly [Explained] }>(
    `explain (analyze, buffers, format json) ${statement}`,
    values as unknown[],
  );
  await client.query("rollback to savepoint explained");
  const [plan] = rows[0]?.["QUERY PLAN"] ?? [];
  if (plan === undefined) throw new Error("a statement was not explained");
  const nodes = flatten(plan.Plan);
  const scans = nodes.filter(
    (node) => node["Relation Name"] !== undefined && node["Node Type"].includes("Scan") && (node["Actual Loops"] ?? 0) > 0,
  );
  return {
    milliseconds: plan["Planning Time"] + plan["Execution Time"],
    buffers: countPages(plan.Plan, nodes),
    rows: scans.reduce(
      (sum, node) => sum + ((node["Actual Rows"] ?? 0) + (node["Rows Removed by Filter"] ?? 0)) * (node["Actual Loops"] ?? 1),
      0,
    ),
    searches: nodes
      .filter((node) => node["Index Name"] !== undefined)
      .reduce((sum, node) => sum + (node["Index Searches"] ?? node["Actual Loops"] ?? 0), 0),
    plan: [...new Set([...scans.map(nameScan), ...(nodes.some(isParallel) ? ["in parallel"] : [])])].join(", "),
  };
}

/** What the plan read, and what parts that write did of which it uses no result: PostgreSQL runs them last, and counts them for themselves. */
function countPages(plan: PlanNode, nodes: readonly PlanNode[]): number {
  const used = new Set(nodes.map((node) => node["CTE Name"]));
  const alone = nodes.filter(
    (node) => node["Node Type"] === "ModifyTable" && node["Subplan Name"]?.startsWith("CTE ") && !used.has(node["Subplan Name"].slice(4)),
  );
  return [plan, ...alone].reduce((sum, node) => sum + (node["Shared Hit Blocks"] ?? 0) + (node["Shared Read Blocks"] ?? 0), 0);
}

/** An index, or a table that was read whole. A month of the ledger stands for all of them. */
const nameScan = (node: PlanNode): string =>
  `${node["Node Type"] === "Seq Scan" ? "all of " : ""}${node["Index Name"] ?? node["Relation Name"]}`.replace(
    /billing_events_(?:\d{4}_\d{2}|default)/,
    "billing_events_*",
  );

/** PostgreSQL calls helpers for what it believes to be much: it takes their cores, and time to start them. */
const isParallel = (node: PlanNode): boolean => node["Node Type"].startsWith("Gather");

const flatten = (node: PlanNode): readonly PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** For what is measured as it once was: a statement by its text. */
export const statement =
  (text: string) =>
  async (db: DatabaseClient): Promise<unknown> =>
    sql.raw(text).execute(db);
