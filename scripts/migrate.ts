import { parseArgs } from "node:util";
import { DATABASE_ENVIRONMENT, type DatabaseSettings, grantRole, migrate, parseDatabaseSettings } from "@proliferate/db";
import { createLogger, redactSecrets } from "@proliferate/runtime";
import { MIRROR_SCHEMA } from "@proliferate/services/import";
import { parseEnvironment } from "@proliferate/shared/env";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { migrateQueue, QUEUE_SCHEMA } from "@proliferate/worker/queue";
import { z } from "zod";

/**
 * Makes what the product needs in the database, as its owner; `--grant ROLE` lets another role run on it afterwards. The
 * processes themselves then create nothing.
 */

const SETS = ["gateway", "litellm", "queue", "mirror"] as const;
type Set = (typeof SETS)[number];

const migrationSets = z
  .string()
  .default("gateway,litellm,queue")
  .transform((text) => text.split(",").map((name) => name.trim()))
  .pipe(z.array(z.enum(SETS)).min(1));

/** What `node scripts/migrate.ts` reads. */
export const MIGRATE_ENVIRONMENT = {
  ...DATABASE_ENVIRONMENT,
  MIGRATION_SETS: migrationSets.describe(
    "What to make: gateway (always), litellm (where our engine takes stock LiteLLM's place), queue (where the worker has no Redis), mirror (where it has SPEND_SOURCE=rest)",
  ),
} as const;

async function make(set: Set, direct: DatabaseSettings["direct"]): Promise<readonly string[]> {
  switch (set) {
    case "queue":
      await migrateQueue(direct.connectionString);
      return [];
    case "mirror":
      return migrate({ ...direct, litellmSchema: MIRROR_SCHEMA, sets: ["litellm"] });
    default:
      return migrate({ ...direct, sets: [set] });
  }
}

/** The role of `--grant`; undefined without. Throws `invalid_request` on anything else. */
function roleOfArguments(): string | undefined {
  try {
    return parseArgs({ options: { grant: { type: "string" } } }).values.grant;
  } catch (error) {
    throw new AppError("invalid_request", `${(error as Error).message} Usage: node scripts/migrate.ts [--grant ROLE].`, { cause: error });
  }
}

/** Applies what is missing and says what it applied, and whom it let in. Throws as `migrate` and `grantRole` do. */
async function main(): Promise<void> {
  const logger = createLogger("migrate");
  const role = roleOfArguments();
  const { MIGRATION_SETS: sets } = parseEnvironment(MIGRATE_ENVIRONMENT, process.env);
  const { pooled, direct } = parseDatabaseSettings(process.env);
  const applied: string[] = [];
  // LiteLLM's tables before those of ours that look into them.
  for (const set of sets.toSorted((left, right) => ORDER.indexOf(left) - ORDER.indexOf(right))) applied.push(...(await make(set, direct)));
  logger.info({ applied, sets }, "migrate.done");
  if (role === undefined) return;
  const schemas = await grantRole({
    ...direct,
    role,
    otherSchemas: [QUEUE_SCHEMA, MIRROR_SCHEMA],
    withSettings: pooled.pooling === "transaction",
  });
  logger.info({ role, schemas }, "migrate.granted");
}

const ORDER: readonly Set[] = ["litellm", "mirror", "gateway", "queue"];

if (import.meta.main) {
  await main().catch((error: unknown) => {
    const message = isAppError(error) ? `${error.message} ${error.fix}` : String((error as Error).stack ?? error);
    process.stderr.write(`migrate: ${redactSecrets(message)}\n`);
    process.exitCode = 1;
  });
}
