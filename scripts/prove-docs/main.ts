import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { openDatabase } from "@proliferate/db";
import { sql } from "kysely";
import { runScript } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { type DocumentCommand, documentCommands } from "./document-commands.ts";
import { type Placeholders, planFor } from "./plan.ts";
import { type ProvingStack, startProvingStack } from "./proving-stack.ts";

/** Runs what the documentation prints; usage.txt says how. Status 1 where a command ended otherwise than its page says, or is unknown. */

const ROOT = new URL("../../", import.meta.url);
const ROOT_FOLDER = fileURLToPath(ROOT);
const LIMIT_MS = 300_000;
const PACK = "0d0c5a4e-7a52-4b1e-9c51-5b1d2f0a7e11";

interface Outcome extends DocumentCommand {
  readonly outcome: "as the page says" | "otherwise" | "left out" | "unknown";
  /** Status and last words, or why it was left out. */
  readonly told: string;
  readonly seconds: number;
}

/** What the pages take for granted: an organization that billing knows. */
const PREPARATION = "./scripts/billing org set org_1 --max-sessions none --create";

async function main(json: boolean): Promise<number> {
  const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  const folder = await makeTemporaryFolder("prove-docs");
  await mkdir(`${folder}/written`, { mode: 0o755 });
  say("Starting a development stack as README.md says");
  const stack = await startProvingStack(folder, ROOT_FOLDER);
  const outcomes: Outcome[] = [];
  try {
    const environment = environmentOf(stack, folder);
    const prepared = await shell(PREPARATION, environment);
    if (prepared.status !== 0) throw new Error(`${PREPARATION}: ${prepared.lastWords}`);
    for (const command of documentCommands(ROOT)) {
      const outcome = await prove(command, stack, environment);
      outcomes.push(outcome);
      say(
        `${MARKS[outcome.outcome]} ${command.page}:${command.line}  ${command.text.slice(0, 90)}${outcome.outcome === "as the page says" ? `  (${outcome.seconds.toFixed(1)} s)` : `\n    ${outcome.told}`}`,
      );
    }
  } finally {
    await stack.stop();
  }
  const count = (kind: Outcome["outcome"]): number => outcomes.filter(({ outcome }) => outcome === kind).length;
  const failed = count("otherwise") + count("unknown");
  say(`${count("as the page says")} ran as their page says, ${count("left out")} left out, ${failed} failed`);
  if (json) process.stdout.write(`${JSON.stringify({ ok: failed === 0, commands: outcomes })}\n`);
  return failed === 0 ? 0 : 1;
}

const MARKS: Readonly<Record<Outcome["outcome"], string>> = {
  "as the page says": "ok  ",
  "otherwise": "FAIL",
  "left out": "–   ",
  "unknown": "FAIL",
};

async function prove(command: DocumentCommand, stack: ProvingStack, environment: Readonly<Record<string, string>>): Promise<Outcome> {
  const plan = planFor(command);
  if (plan.kind === "left out") return { ...command, outcome: "left out", told: plan.reason, seconds: 0 };
  if (plan.kind === "unknown")
    return {
      ...command,
      outcome: "unknown",
      told: "nothing says how to run it, or why it is left out (scripts/prove-docs/plan.ts, left-out.ts)",
      seconds: 0,
    };
  if (command.text.includes("PACK")) await forgetPack(stack);
  const startedAt = performance.now();
  const { status, lastWords } = await shell(plan.fill(placeholdersOf(stack)), environment);
  const seconds = (performance.now() - startedAt) / 1_000;
  const isSo = plan.statuses.includes(status);
  return {
    ...command,
    outcome: isSo ? "as the page says" : "otherwise",
    told: isSo ? `status ${status}` : `status ${status} instead of ${plan.statuses.join(" or ")}: ${lastWords}`,
    seconds,
  };
}

function placeholdersOf({ ports, requestId, variables }: ProvingStack): Placeholders {
  return {
    requestId,
    pack: PACK,
    stackPort: ports.LLM_PROXY_PORT,
    gatewayUrl: variables["GATEWAY_URL"] ?? "",
    dataPlaneUrl: `http://127.0.0.1:${ports.LLM_PROXY_PORT}`,
  };
}

/** What somebody has who follows the pages: the shell's own, what the stack printed, and for migrations the database. */
function environmentOf(stack: ProvingStack, folder: string): Readonly<Record<string, string>> {
  const { GATEWAY_API_TOKEN = "" } = stack.variables;
  return {
    ...(process.env as Record<string, string>),
    ...stack.pasted,
    DEV_STATE_FOLDER: folder,
    PROVE_FOLDER: `${folder}/written`,
    GATEWAY_API_TOKEN,
    PROVE_DATABASE_URL: databaseOf(stack),
  };
}

const databaseOf = ({ variables }: ProvingStack): string => variables["DATABASE_URL"] ?? variables["POSTGRES_CONNECTION_STRING"] ?? "";

/** A pack that nobody knows the fate of, as a purchase without an answer leaves it. */
async function forgetPack(stack: ProvingStack): Promise<void> {
  const db = openDatabase({ connectionString: databaseOf(stack), maxConnections: 1, applicationName: "llm-gateway-prove-docs" });
  try {
    await sql`insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, state, next_attempt_at, started_at)
      values (${PACK}, 'org_1', to_char(now(), 'YYYY-MM'), 1, 'tu:prove-docs', 'top_up', 500, 'needs_review', now(), now())`.execute(db);
  } finally {
    await db.destroy();
  }
}

/** One line of a page in a shell of its own. The billing commands find the stack by themselves; migrations are told the database. */
async function shell(
  line: string,
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly lastWords: string }> {
  const database = line.includes("scripts/migrate.ts") ? { DATABASE_URL: environment["PROVE_DATABASE_URL"] ?? "" } : {};
  const child = spawn("bash", ["-o", "pipefail", "-c", line], {
    cwd: ROOT_FOLDER,
    env: { ...environment, ...database },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LIMIT_MS,
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => said.push(String(chunk)));
  const [status] = (await once(child, "close")) as [number | null];
  return { status: status ?? -1, lastWords: said.join("").trim().slice(-500) };
}

const status = await runScript({
  help: await readFile(new URL("usage.txt", import.meta.url), "utf8"),
  options: { json: { type: "boolean", default: false } },
  check: ({ json }) => json,
  run: main,
});
process.exit(status);
