import { DATABASE_ENVIRONMENT, migrate, type MigrationSet, parseDatabaseSettings } from "@proliferate/db";
import { createLogger, redactSecrets } from "@proliferate/runtime";
import { parseEnvironment } from "@proliferate/shared/env";
import { isAppError } from "@proliferate/shared/errors";
import { z } from "zod";

const migrationSets = z
  .string()
  .default("gateway,litellm")
  .transform((text) => text.split(",").map((name) => name.trim()))
  .pipe(z.array(z.enum(["gateway", "litellm"])).min(1));

/** What `node scripts/migrate.ts` reads. */
export const MIGRATE_ENVIRONMENT = {
  ...DATABASE_ENVIRONMENT,
  MIGRATION_SETS: migrationSets.describe("What to migrate: gateway, litellm; gateway alone where stock LiteLLM migrates its own schema"),
} as const;

/** Applies what is missing and says what it applied. Throws as `migrate` does. */
async function main(): Promise<void> {
  const logger = createLogger("migrate");
  const variables = parseEnvironment(MIGRATE_ENVIRONMENT, process.env);
  const { direct } = parseDatabaseSettings(process.env);
  const sets: readonly MigrationSet[] = variables.MIGRATION_SETS;
  const applied = await migrate({ ...direct, sets });
  logger.info({ applied, sets }, "migrate.done");
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    const message = isAppError(error) ? `${error.message} ${error.fix}` : String((error as Error).stack ?? error);
    process.stderr.write(`migrate: ${redactSecrets(message)}\n`);
    process.exitCode = 1;
  });
}
