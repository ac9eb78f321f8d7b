import { AppError } from "@proliferate/shared/errors";

/** Our own tables. A name of its own, because the database is often shared with the company's app. */
export const GATEWAY_SCHEMA = "llm_gateway";

/** LiteLLM's tables live apart: LiteLLM migrates what it owns and must never touch ours. */
export const DEFAULT_LITELLM_SCHEMA = "litellm";

/** Refuses a schema name that would need quoting: it is pasted into `search_path`. */
export function checkSchemaName(name: string): string {
  if (/^[a-z_][a-z0-9_]{0,62}$/.test(name)) return name;
  throw new AppError("env_invalid", `LITELLM_DB_SCHEMA "${name}" is not a plain PostgreSQL name (a-z, 0-9, _).`);
}
