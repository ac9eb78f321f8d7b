import { parseArgs } from "node:util";
import { runKills } from "../../apps/worker/test/kill-run.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";

const HELP = `Kills billing workers at random points under load, restarts and kills PostgreSQL, empties the queue, loses Autumn's
answers; then compares the spend rows, the ledger and what Autumn took, exactly.

  ./scripts/kill-billing.sh                     200 kills
  ./scripts/kill-billing.sh --kills 20
  ./scripts/kill-billing.sh --redis redis://…   schedules in this Redis, which is FLUSHED

Exit status: 0 nothing lost and nothing twice, 1 otherwise, 2 wrong options.
`;

function readOptions(): { readonly kills: number; readonly redisUrl: string | undefined; readonly help: boolean } {
  const { values } = parseArgs({
    options: { kills: { type: "string", default: "200" }, redis: { type: "string" }, help: { type: "boolean", default: false } },
  });
  if (!/^[1-9]\d{0,5}$/.test(values.kills)) throw new TypeError(`--kills must be a whole number from 1, not "${values.kills}"`);
  return { kills: Number(values.kills), redisUrl: values.redis ?? process.env["TEST_REDIS_URL"], help: values.help };
}

async function main(): Promise<number> {
  let options;
  try {
    options = readOptions();
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`);
    return 2;
  }
  if (options.help) return (console.log(HELP), 0);
  const folder = await makeTemporaryFolder("kill");
  const startedAt = performance.now();
  const report = await runKills({
    ...options,
    folder,
    onProgress: ({ kills, postgresRestarts, postgresCrashes, queueFlushes }) => {
      if (kills % 20 === 0)
        console.log(
          `${kills} of ${options.kills} kills, PostgreSQL restarted ${postgresRestarts} and killed ${postgresCrashes} times, queue emptied ${queueFlushes} times`,
        );
    },
  });
  console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - startedAt) / 1_000) }, undefined, 2));
  const isExact =
    report.lostRows === 0 &&
    report.doubledRows === 0 &&
    report.ledgerUsd === report.sourceUsd &&
    report.autumnCredits === report.deliveredCredits;
  console.log(isExact ? "Nothing lost, nothing twice." : "The sums differ.");
  return isExact ? 0 : 1;
}

process.exitCode = await main();
