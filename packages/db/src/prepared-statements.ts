import { type CompiledQuery, type Kysely, type RawBuilder, sql } from "kysely";
import type pg from "pg";

const MARK = /^\s*\/\* prepared: ([a-z_]{1,60}) \*\//;

/** Where each parameter stands in the text of a statement: as often as it likes, one value. */
export type Placeholders<Parameters> = { readonly [Name in keyof Parameters]-?: RawBuilder<Parameters[Name]> };

/** Executes a prepared statement on a pool or a transaction. Its rows, in the order in which the database gave them. */
type PreparedStatement<Parameters, Row> = (
  db: Pick<Kysely<unknown>, "executeQuery" | "getExecutor">,
  parameters: Parameters,
) => Promise<readonly Row[]>;

/**
 * A statement that runs for every request. Its text is made once a process, each connection parses it once, and plans it anew only where
 * that pays. What differs from call to call is a parameter; `text` puts in nothing else (`TypeError`). Only for statements that name all
 * their columns, because they outlive a migration. A `name` belongs to one statement.
 *
 * Example: `preparedStatement<{ id: string }, { name: string }>("find_name", ({ id }) => sql\`select name from people where id = ${id}\`)`
 */
export function preparedStatement<Parameters extends object, Row = unknown>(
  name: string,
  text: (placeholders: Placeholders<Parameters>) => RawBuilder<Row>,
): PreparedStatement<Parameters, Row> {
  if (!/^[a-z_]{1,60}$/.test(name)) throw new TypeError(`"${name}" cannot name a prepared statement (a-z and _, 60 at most)`);
  const names: string[] = [];
  const placeholders = new Proxy({} as Placeholders<Parameters>, {
    get: (_target, property) => {
      const parameter = String(property);
      if (!names.includes(parameter)) names.push(parameter);
      return sql.raw(`$${names.indexOf(parameter) + 1}`);
    },
  });
  const built = sql<Row>`${sql.raw(`/* prepared: ${name} */`)} ${text(placeholders)}`;
  let compiled: CompiledQuery<Row> | undefined;
  return async (db, parameters) => {
    compiled ??= built.compile(db);
    if (compiled.parameters.length > 0) throw new TypeError(`the prepared statement "${name}" holds a value that is no parameter`);
    const values = parameters as Readonly<Record<string, unknown>>;
    const { rows } = await db.executeQuery<Row>({ ...compiled, parameters: names.map((parameter) => values[parameter]) });
    return rows;
  };
}

/** From now on the connection knows marked statements by their names; all others pass as they are. */
export function knowPreparedStatements(client: pg.ClientBase): void {
  const query = client.query.bind(client) as (...options: unknown[]) => unknown;
  const queryPrepared = (text: unknown, ...others: unknown[]): unknown => {
    const name = typeof text === "string" ? MARK.exec(text)?.[1] : undefined;
    return name === undefined ? query(text, ...others) : query({ name, text, values: others[0] });
  };
  client.query = queryPrepared as typeof client.query;
}
