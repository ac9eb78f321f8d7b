import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import {
  manage,
  MASTER_KEY,
  mintKey,
  PROVIDER_KEY,
  type ProxyProcess,
  startProxyProcess,
} from "../../apps/llm-proxy/test/proxy-process.ts";
import { runScript } from "../command-line.ts";
import { table } from "../markdown-table.ts";
import { installLitellm, LITELLM_VERSION } from "../prove-litellm-fields/installation.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { NOT_RUN, type Step, STEPS } from "./steps.ts";

const HELP = `LiteLLM ${LITELLM_VERSION}'s own Python client and command line (litellm-proxy, lite), unmodified, against our engine.

The first run installs LiteLLM from PyPI into .dev/tools (about 750 MB, shared with prove-litellm-fields.sh; Python 3.10 or newer, with venv).
Each run starts our proxy with a PostgreSQL and a provider of its own, runs every command and every method of the client, and
prints how each ended. One that LiteLLM has and that stands in no list is a difference, too.

  ./scripts/prove-litellm-client.sh          about a minute

Exit status: 0 all end as scripts/prove-litellm-client/steps.ts says; 1 one does not; 2 wrong options.
`;
const TOOLS = ".dev/tools";
const DRIVER = fileURLToPath(new URL("driver.py", import.meta.url));

interface Ended {
  readonly name: string;
  readonly status: number;
  readonly text: string;
}

interface Everything {
  readonly commands: readonly string[];
  readonly methods: readonly string[];
}

const nameOf = ({ cli, call, arguments: given }: Step): string =>
  cli === undefined ? `${call}(${JSON.stringify(given ?? {})})` : `litellm-proxy ${cli.join(" ")}`;

async function runDriver(
  python: string,
  proxy: ProxyProcess,
  home: string,
): Promise<{ readonly all: Everything; readonly ended: readonly Ended[] }> {
  const { key } = await mintKey(proxy, { user_id: "user-2" });
  const words: Readonly<Record<string, string>> = { $URL: proxy.adminUrl, $KEY: MASTER_KEY, $VIRTUAL_KEY: key };
  const spoken = (text: string): string => words[text] ?? text;
  const steps = STEPS.map((step) => ({
    name: nameOf(step),
    ...(step.cli
      ? { cli: step.cli.map(spoken) }
      : {
          call: step.call,
          arguments: JSON.parse(JSON.stringify(step.arguments ?? {}), (_, value) =>
            typeof value === "string" ? spoken(value) : value,
          ) as unknown,
        }),
  }));
  const child = spawn(python, [DRIVER], {
    stdio: ["pipe", "pipe", "inherit"],
    // Nothing of this machine's own settings of LiteLLM.
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: home,
      LITELLM_LOCAL_MODEL_COST_MAP: "True",
      LITELLM_TELEMETRY: "False",
      PYTHONDONTWRITEBYTECODE: "1",
    },
  });
  child.stdin.end(JSON.stringify({ url: proxy.adminUrl, data_url: proxy.url, key: MASTER_KEY, virtual_key: key, steps }));
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  const [status] = (await once(child, "close")) as [number | null];
  if (status !== 0) throw new Error(`the client ended with status ${status}`);
  const [all, ...ended] = output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  return { all: all as Everything, ended: ended as Ended[] };
}

/** What is not as it must be, in words; '' where all is. */
function verdict(step: Step, ended: Ended | undefined): string {
  if (ended === undefined) return "was not run";
  if (ended.status !== step.status) return `ended with ${ended.status}, not with ${step.status}: ${ended.text.trim().slice(-300)}`;
  if (step.says !== undefined && !ended.text.includes(step.says)) return `does not say "${step.says}": ${ended.text.trim().slice(0, 300)}`;
  return "";
}

const isRun = (command: string): boolean => STEPS.some(({ cli }) => cli?.join(" ").startsWith(command));

const howOf = ({ status }: Step): string => (status === 0 ? "answered" : status === 501 ? "501, by its name" : `refused: ${status}`);

/** Commands and methods that stand in no list. */
function unknownOf({ commands, methods }: Everything): readonly string[] {
  return [
    ...commands.filter((command) => !isRun(command) && !NOT_RUN.some(({ commands: pattern }) => pattern.test(command))),
    ...methods.filter((method) => !STEPS.some(({ call }) => call === method)),
  ];
}

async function run(): Promise<number> {
  const { program } = await installLitellm(join(process.cwd(), TOOLS), (line) => console.error(line));
  const folder = await makeTemporaryFolder("litellm-client");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
  try {
    await migrate({ connectionString: postgres.connectionString });
    const proxy = await startProxyProcess({ connectionString: postgres.connectionString, providerUrl: provider.url });
    try {
      await manage(proxy, "/team/new", { team_id: "team-1", team_alias: "The first" });
      await manage(proxy, "/user/new", { user_id: "user-1", auto_create_key: false });
      const { all, ended } = await runDriver(join(program, "..", "python"), proxy, folder);
      const rows = STEPS.map((step, index) => ({ step, wrong: verdict(step, ended[index]) }));
      const unknown = unknownOf(all);
      console.log(
        table(
          ["command or call", "ends", ""],
          rows.map(({ step, wrong }) => [nameOf(step), howOf(step), wrong]),
        ).join("\n"),
      );
      for (const name of unknown) console.log(`${name} stands in no list of steps.ts`);
      const differences = rows.filter(({ wrong }) => wrong !== "").length + unknown.length;
      console.log(`${rows.length} commands and calls, ${differences} differences`);
      return differences === 0 ? 0 : 1;
    } finally {
      await proxy.stop();
    }
  } finally {
    await provider.stop();
    await postgres.stop();
  }
}

process.exitCode = await runScript({ help: HELP, options: {}, check: () => undefined, run });
