import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { mark, redactSecrets, surfaceOf } from "@proliferate/runtime";
import { isAppError } from "@proliferate/shared/errors";
import { parseDevStackEnvironment } from "./environment.ts";
import { createSession } from "./gateway-client.ts";
import { fetchOpencode, findOpencode, installedVersion } from "./opencode.ts";
import { parseStackOptions, type StackOptions, USAGE, UsageError } from "./options.ts";
import { opencodeAgent, type PassAgent, type PassResult, runPass, SDK_AGENT } from "./pass.ts";
import { createScreen } from "./screen.ts";
import { printSettings } from "./settings.ts";
import { type Stack, StackStarter } from "./stack.ts";
import { openStateFolder } from "./state-folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const screen = createScreen((text) => process.stdout.write(text), surfaceOf(process.stdout, process.env));

/** Ctrl-C, and a terminal that was closed. The second Ctrl-C does not wait. */
function stopSignal(): Promise<string> {
  return new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(130));
        done(signal);
      });
    }
  });
}

async function main(): Promise<number> {
  const options = parseStackOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const environment = parseDevStackEnvironment(process.env);
  const state = await openStateFolder(resolve(ROOT, environment.DEV_STATE_FOLDER), environment.LLM_PROXY_PORT);
  const starter = new StackStarter(environment, state, screen);
  const stopped = stopSignal();
  try {
    screen.heading("Starting");
    const work = startAndPass(starter, options, { orgId: environment.DEV_ORG_ID, model: environment.DEV_MODEL });
    // After a stop signal nobody waits for it any more.
    work.catch(() => undefined);
    const first = await Promise.race([work, stopped]);
    if (typeof first === "string") return 130;
    const { stack, result } = first;
    if (options.once) return result.report.ok ? 0 : 1;
    const pasted = {
      sessionId: `session_paste_${randomBytes(4).toString("hex")}`,
      orgId: environment.DEV_ORG_ID,
      model: environment.DEV_MODEL,
    };
    printSettings(screen, stack, result.session ?? (await createSession(stack, pasted)));
    if (options.json) printReport(result);
    screen.line("\nEverything is up. Ctrl-C stops it.");
    const end = await Promise.race([stopped, stack.failed]);
    if (["SIGINT", "SIGTERM", "SIGHUP"].includes(end)) return 0;
    throw new Error(end);
  } finally {
    screen.line("\nStopping");
    await starter.stop();
    if (options.once && options.json && lastResult) printReport(lastResult);
  }
}

let lastResult: PassResult | undefined;

function printReport(result: PassResult): void {
  process.stdout.write(`${JSON.stringify(result.report)}\n`);
}

async function startAndPass(
  starter: StackStarter,
  options: StackOptions,
  request: { orgId: string; model: string },
): Promise<{ stack: Stack; result: PassResult }> {
  const { agent, program } = await chooseAgent(options);
  const stack = await starter.start(program);
  screen.heading("One pass of the main job");
  const failed = stack.failed.then((line) => Promise.reject(new Error(line)));
  const result = await Promise.race([runPass(stack, screen, { ...request, agent }), failed]);
  lastResult = result;
  const { report } = result;
  screen.line(
    `\n  ${report.ok ? mark.good("exact:") : mark.bad("NOT EXACT:")} $${report.spend_usd} spent, ${report.credits} credits owed, ${report.autumn_deducted} deducted in Autumn; ${report.lag_ms} ms after the request ended`,
  );
  if (!options.once) screen.line(`  every step of it, while this runs: ./scripts/billing explain ${report.request_id}`);
  return { stack, result };
}

/** Fetched before the stack starts: the gateway is told where it is. */
async function chooseAgent(options: StackOptions): Promise<{ readonly agent: PassAgent; readonly program: string | undefined }> {
  const tools = `${ROOT}.dev/tools`;
  // One that was fetched before serves local sandboxes, also where the SDK makes this pass's request.
  if (!options.opencode) return { agent: SDK_AGENT, program: await findOpencode(tools) };
  const program = await fetchOpencode(tools, (text) => screen.part("opencode", text));
  return { agent: opencodeAgent(await installedVersion(program)), program };
}

/** Told as people read it, and where `--json` was given as one object on stdout, too; status 2 where nothing was begun because of what was asked. */
function reportFailure(error: unknown): number {
  // What is wrong with a variable is told without its value; the example of a connection string in it is to be read.
  const isSetting = isAppError(error) && error.code === "env_invalid";
  const told = isAppError(error) ? `${error.message} ${error.fix}` : (error as Error).message;
  const text = isSetting ? told : redactSecrets(told);
  process.stderr.write(`\n${text}\n`);
  if (process.argv.includes("--json"))
    process.stdout.write(
      `${JSON.stringify({ ok: false, error: { code: isAppError(error) ? error.code : "internal_error", message: text } })}\n`,
    );
  return error instanceof UsageError || isSetting ? 2 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  process.exit(reportFailure(error));
}
