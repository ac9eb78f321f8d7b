/**
 * The one place that reads SQLSTATE codes. A failed statement raises two questions: is the store away (the same statement
 * succeeds later), or is the statement at fault (it never succeeds)? Code that repeats a statement asks both; a failure that
 * neither knows is repeated and reported. The other questions here are those of single statements.
 */

/**
 * SQLSTATE classes that mean "the store is not there now", as opposed to "the statement is wrong": connection, resources,
 * shutdown, system errors, a server that takes no writes (25006: a primary that was demoted to a replica), and what a time-out of
 * ours ended (57014 a statement, 55P03 a wait for a lock, 25P03 a transaction that rested).
 */
const UNAVAILABLE_SQLSTATE = /^(08|53|57P0|58|25006|57014|55P03|25P03)/;
const UNAVAILABLE_ERRNO = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "ENOENT"]);

/** True when the error says that PostgreSQL cannot be reached, is starting, stopping, full, takes no writes, or took too long. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  if (code !== undefined && (UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_ERRNO.has(code))) return true;
  return /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error/.test(error.message);
}

/** Data that no column takes (22), that breaks a constraint (23), or that is larger or deeper than PostgreSQL reads (54). */
const PERMANENT_SQLSTATE = /^(22|23|54)/;

/**
 * True when the values of a statement are at fault, so that repeating it can never succeed; also when our own code could not
 * put them into a statement at all (text too long, a structure too deep, a value of the wrong type). Never true of an error
 * for which {@link isDatabaseUnavailable} is.
 */
export function isPermanentError(error: unknown): boolean {
  if (!(error instanceof Error) || isDatabaseUnavailable(error)) return false;
  const code = codeOf(error);
  if (code !== undefined && /^[0-9A-Z]{5}$/.test(code)) return PERMANENT_SQLSTATE.test(code);
  return error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
}

/** True when PostgreSQL refused to let this user in: wrong user or password (28), or a database that is not there (3D). */
export function isLoginRefused(error: unknown): boolean {
  return error instanceof Error && /^(28|3D)/.test(codeOf(error) ?? "");
}

/** True when a row with the same value of a unique column is there already (23505). */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "23505";
}

/** True when the values overlap those of another row where an exclusion constraint forbids that (23P01). */
export function isOverlap(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "23P01";
}

/** True when a column got NULL that takes none (23502). */
export function isNullRefused(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "23502";
}

/** True when the table is not there (42P01): the migrations have not run. */
export function isTableMissing(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "42P01";
}

/** True when a table, column or function is not there (42P01, 42703, 42883): this version needs a newer schema. */
export function isSchemaTooOld(error: unknown): boolean {
  return error instanceof Error && /^42(P01|703|883)$/.test(codeOf(error) ?? "");
}

/** True when this role may not do what the statement does (42501). */
export function isForbidden(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "42501";
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}
