import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { runScript } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { installLitellm, LITELLM_VERSION } from "./installation.ts";
import { type RealLitellm, startLitellm } from "./real-litellm.ts";

const HELP = `What each field of LiteLLM's keys, teams and budgets does, on our engine and on a real LiteLLM ${LITELLM_VERSION}.

The first run installs LiteLLM from PyPI into .dev/tools (about 750 MB; Python 3.10 or newer, with venv). Each run starts it on
the loopback, with a PostgreSQL and a provider of its own, runs apps/llm-proxy/test/litellm-fields.test.ts and ends both. Its
database is reached by Prisma's query engine as WebAssembly, as npm has no other.

  ./scripts/prove-litellm-fields.sh                  a few minutes
  ./scripts/prove-litellm-fields.sh --only "rpm"     the tests whose names match
  ./scripts/prove-litellm-fields.sh --serve          starts it, prints the two variables, and waits for Ctrl-C

Exit status: 0 every row holds on both; 1 one does not, or LiteLLM could not be started; 2 wrong options.
`;
const TEST = "apps/llm-proxy/test/litellm-fields.test.ts";
const TOOLS = ".dev/tools";
const LOG = ".dev/litellm.log";

interface Options {
  readonly only: string | undefined;
  readonly serve: boolean;
}

const announce = (line: string): void => console.error(line);

async function runTests({ url, masterKey }: RealLitellm, only: string | undefined): Promise<number> {
  const child = spawn("vitest", ["run", TEST, ...(only === undefined ? [] : ["-t", only])], {
    stdio: "inherit",
    env: { ...process.env, TEST_LITELLM_URL: url, TEST_LITELLM_MASTER_KEY: masterKey },
  });
  const [status] = (await once(child, "exit")) as [number | null];
  return status === 0 ? 0 : 1;
}

async function run({ only, serve }: Options): Promise<number> {
  const installation = await installLitellm(join(process.cwd(), TOOLS), announce);
  const folder = await makeTemporaryFolder("litellm");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  const provider = await startProviderStandIn();
  try {
    const { connectionString } = postgres;
    announce(`starting LiteLLM ${LITELLM_VERSION}; its log: ${LOG}`);
    const litellm = await startLitellm({ installation, connectionString, providerUrl: provider.url, logFile: LOG });
    try {
      if (!serve) return await runTests(litellm, only);
      console.log(`TEST_LITELLM_URL=${litellm.url} TEST_LITELLM_MASTER_KEY=${litellm.masterKey}`);
      await new Promise(() => undefined);
    } finally {
      await litellm.stop();
    }
  } finally {
    await provider.stop();
    await postgres.stop();
  }
  return 0;
}

process.exitCode = await runScript({
  help: HELP,
  options: { only: { type: "string" }, serve: { type: "boolean", default: false } },
  check: ({ only, serve }): Options => ({ only, serve }),
  run,
});
