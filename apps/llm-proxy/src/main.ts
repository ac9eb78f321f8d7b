import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { runProcess } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import { loadModelConfig } from "./config/load-model-config.ts";
import { parseProxyProcessConfig } from "./env.ts";
import { keepBuffersSmall } from "./http/buffer-pool.ts";
import { startProxy } from "./proxy.ts";

const REPOSITORY_CONFIG = fileURLToPath(new URL("../litellm/config.yaml", import.meta.url));

async function readConfig(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new AppError("config_invalid", `The model list ${file} cannot be read; LITELLM_CONFIG names it.`, { cause: error });
  }
}

keepBuffersSmall();
await runProcess("llm-proxy", async (lifecycle, logger) => {
  const settings = parseProxyProcessConfig(process.env);
  const file = settings.configFile ?? REPOSITORY_CONFIG;
  const database = {
    ...settings.database.pooled,
    maxConnections: settings.databaseConnections,
    onIdleError: (error: Error) => logger.warn({ error: error.message }, "database.connection_lost"),
  };
  const config = loadModelConfig(await readConfig(file), process.env, { file });
  return { ports: await startProxy({ ...settings, database, directDatabase: settings.database.direct, config }, lifecycle, logger) };
});
