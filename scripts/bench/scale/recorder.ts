import type { Database, DatabaseClient } from "@proliferate/db";
import { Kysely, PostgresDialect, sql } from "kysely";
import type pg from "pg";

/** What PostgreSQL says that a statement did. */
export interface Measured {
  readonly milliseconds: number;
  /** Pages of 8 kB, from memory or disk. */
  readonly buffers: number;
  /** Rows that its scans read, those included that a filter threw away. */
  readonly rows: number;
  /** The scans that ran. */
  readonly plan: string;
}

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Actual Rows"?: number;
  readonly "Actual Loops"?: number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Shared Hit Blocks"?: number;
  readonly "Shared Read Blocks"?: number;
  readonly "Plans"?: readonly PlanNode[];
}

/**
 * Runs what the product runs and has PostgreSQL explain each of its statements: once to warm, once to measure, all in a transaction
 * that is rolled back. Statements of one function are added up.
 */
export async function measure(client: pg.Client, work: (db: DatabaseClient) => Promise<unknown>): Promise<Measured> {
  const found: Measured[] = [];
  let explains = false;
  const query = async (text: string | { readonly text: string }, values?: readonly unknown[]): Promise<unknown> => {
    const statement = typeof text === "string" ? text : text.text;
    if (/^\s*(begin|commit|rollback|start transaction|savepoint|release|set transaction)/i.test(statement))
      return { rows: [], command: "SET" };
    if (explains) found.push(await explain(client, statement, values));
    return client.query(statement, values as unknown[]);
  };
  const pool = { connect: async () => ({ query, release: () => undefined }), end: async () => undefined };
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: pool as never }) });
  try {
    for (explains of [false, true]) {
      await client.query("begin");
      await work(db);
      await client.query("rollback");
    }
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
  return {
    milliseconds: found.reduce((sum, one) => sum + one.milliseconds, 0),
    buffers: found.reduce((sum, one) => sum + one.buffers, 0),
    rows: found.reduce((sum, one) => sum + one.rows, 0),
    plan: [...new Set(found.flatMap((one) => one.plan.split(", ")).filter((part) => part !== ""))].join(", "),
  };
}

async function explain(client: pg.Client, statement: string, values: readonly unknown[] | undefined): Promise<Measured> {
  await client.query("savepoint explained");
  const { rows } = await client.query<{ "QUERY PLAN": readonly [{ readonly "Plan": PlanNode; readonly "Execution Time": number }] }>(
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
    milliseconds: plan["Execution Time"],
    buffers: (plan.Plan["Shared Hit Blocks"] ?? 0) + (plan.Plan["Shared Read Blocks"] ?? 0),
    rows: scans.reduce(
      (sum, node) => sum + ((node["Actual Rows"] ?? 0) + (node["Rows Removed by Filter"] ?? 0)) * (node["Actual Loops"] ?? 1),
      0,
    ),
    plan: [
      ...new Set(scans.map((node) => `${node["Node Type"] === "Seq Scan" ? "all of " : ""}${node["Index Name"] ?? node["Relation Name"]}`)),
    ].join(", "),
  };
}

const flatten = (node: PlanNode): readonly PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** For what is measured as it once was: a statement by its text. */
export const statement =
  (text: string) =>
  async (db: DatabaseClient): Promise<unknown> =>
    sql.raw(text).execute(db);
