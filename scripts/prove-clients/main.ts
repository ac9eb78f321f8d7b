import { join } from "node:path";
import { migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { runScript } from "../command-line.ts";
import { Laboratory } from "./laboratory.ts";
import { runLibraries } from "./libraries.ts";
import { refusalTable, writeSection } from "./page.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";

const HELP = `Real clients, unmodified, against our engine and a provider that fails as it is told.

Each client meets the same situations (it is answered, its key is expired, its budget spent, its provider fails, its stream
dies). Printed are how often it asked and what its user is told; the spend rows are compared with what the provider served.

  ./scripts/prove-clients.sh                      everything
  --only NAME                                     one of them: libraries
  --write                                         writes docs/clients.md
  --json                                          the outcomes as one object on standard output

Exit status: 0 every client stops or recovers as it must; 1 one does not; 2 wrong options.
`;
const NAMES = ["libraries"] as const;

interface Options {
  readonly only: string | undefined;
  readonly isWritten: boolean;
  readonly isJson: boolean;
}

/** Runs something against a proxy with a PostgreSQL of its own. */
async function inLaboratory<Result>(act: (laboratory: Laboratory) => Promise<Result>): Promise<Result> {
  const folder = await makeTemporaryFolder("clients");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  try {
    await migrate({ connectionString: postgres.connectionString });
    const laboratory = await Laboratory.start(postgres.connectionString);
    try {
      return await act(laboratory);
    } finally {
      await laboratory.stop();
    }
  } finally {
    await postgres.stop();
  }
}

async function run({ isWritten, isJson }: Options): Promise<number> {
  const outcomes = await inLaboratory(runLibraries);
  const text = refusalTable(outcomes);
  const red = outcomes.filter(({ wrong }) => wrong.length > 0);
  console.log(isJson ? JSON.stringify({ outcomes }) : text);
  for (const { family, client, situation, wrong } of red) console.error(`RED ${family} ${client}, ${situation.name}: ${wrong.join("; ")}`);
  if (isWritten && red.length === 0) await writeSection("libraries", text);
  return red.length === 0 ? 0 : 1;
}

process.exitCode = await runScript({
  help: HELP,
  options: { only: { type: "string" }, write: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
  check: ({ only, write, json }): Options => {
    if (only !== undefined && !(NAMES as readonly string[]).includes(only))
      throw new TypeError(`--only must be one of ${NAMES.join(", ")}, not "${only}"`);
    return { only, isWritten: write, isJson: json };
  },
  run,
});
