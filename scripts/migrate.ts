import { DATABASE_ENVIRONMENT, type DatabaseSettings, grantRole, migrate, parseDatabaseSettings } from "@proliferate/db";
import { createLogger, redactSecrets } from "@proliferate/runtime";
import { MIRROR_SCHEMA } from "@proliferate/services/import";
import { parseEnvironment } from "@proliferate/shared/env";
import { isAppError } from "@proliferate/shared/errors";
import { migrateQueue, QUEUE_SCHEMA } from "@proliferate/worker/queue";
import { z } from "zod";
import { runScript } from "./command-line.ts";

/**
 * Makes what the product needs in the database, as its owner; `--grant ROLE` lets another role run on it afterwards. The
 * processes themselves then create nothing.
 */

const HELP = `Applies the migrations that DATABASE_URL lacks, as the owner of its schemas; again it changes nothing. MIGRATION_SETS says which
(gateway,litellm,queue); docs/operations.md, "Roles".

  node scripts/migrate.ts
  node scripts/migrate.ts --grant ROLE    and gives ROLE what the processes need

Exit status: 0 done, 1 the database refused or cannot be reached, 2 wrong options.
`;

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

/** Applies what is missing and says what it applied, and whom it let in. Throws as `migrate` and `grantRole` do. */
async function main(role: string | undefined): Promise<void> {
  const logger = createLogger("migrate");
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

async function run(role: string | undefined): Promise<number> {
  try {
    await main(role);
    return 0;
  } catch (error) {
    const message = isAppError(error) ? `${error.message} ${error.fix}` : String((error as Error).stack ?? error);
    process.stderr.write(`migrate: ${redactSecrets(message)}\n`);
    return 1;
  }
}

if (import.meta.main) {
  process.exitCode = await runScript({ help: HELP, options: { grant: { type: "string" } }, check: ({ grant }) => grant, run });
}
