import { runKills } from "../../apps/worker/test/kill-run.ts";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";

const HELP = `Kills billing workers at random points under load, restarts and kills PostgreSQL, empties the queue, loses Autumn's
answers; then compares the spend rows, the ledger and what Autumn took, exactly.

  ./scripts/kill-billing.sh                     200 kills
  ./scripts/kill-billing.sh --kills 20
  ./scripts/kill-billing.sh --redis redis://…   schedules in this Redis, which is FLUSHED

Exit status: 0 nothing lost and nothing twice, 1 otherwise, 2 wrong options.
`;

interface Options {
  readonly kills: number;
  readonly redisUrl: string | undefined;
}

async function run(options: Options): Promise<number> {
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

process.exitCode = await runScript({
  help: HELP,
  options: { kills: { type: "string", default: "200" }, redis: { type: "string" } },
  check: ({ kills, redis }): Options => ({
    kills: wholeNumber("kills", kills, { to: 999_999 }),
    redisUrl: redis ?? process.env["TEST_REDIS_URL"],
  }),
  run,
});
