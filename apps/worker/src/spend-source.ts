import { DEFAULT_LITELLM_SCHEMA, migrate } from "@proliferate/db";
import { type LiteLLMSpendApiOptions, MIRROR_SCHEMA } from "@proliferate/services/import";
import { AppError } from "@proliferate/shared/errors";
import type { WorkerConfig } from "./env.ts";

/** Where spend rows are read. */
interface SpendSource {
  /** Where the LiteLLM_* tables are that billing reads. */
  readonly litellmSchema: string;
  /** What fills them, when they are our mirror. */
  readonly spendApi: LiteLLMSpendApiOptions | undefined;
}

/**
 * Where this worker reads spend rows. Over REST, makes the mirror's tables when they are not there. Throws `env_invalid` when
 * the proxy's address or master key is missing then.
 */
export async function openSpendSource(config: WorkerConfig): Promise<SpendSource> {
  if (config.spendSource === "sql")
    return { litellmSchema: config.database.pooled.litellmSchema ?? DEFAULT_LITELLM_SCHEMA, spendApi: undefined };
  const { adminUrl, masterKey } = config.proxy;
  if (adminUrl === undefined || masterKey === undefined) {
    throw new AppError(
      "env_invalid",
      "The environment is not usable: SPEND_SOURCE is rest, which needs LLM_PROXY_ADMIN_URL (or LLM_PROXY_URL) and LLM_PROXY_MASTER_KEY.",
    );
  }
  await migrate({ connectionString: config.database.direct.connectionString, litellmSchema: MIRROR_SCHEMA, sets: ["litellm"] });
  return { litellmSchema: MIRROR_SCHEMA, spendApi: { adminUrl, masterKey } };
}
