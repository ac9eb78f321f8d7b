import { isDatabaseUnavailable, isLoginRefused, isSchemaTooOld, isTableMissing } from "@proliferate/db";
import { fitText, PLAIN_SURFACE, redactSecrets, type TextSurface } from "@proliferate/runtime";
import type { EnvironmentSource } from "@proliferate/shared/env";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { Command, CommanderError } from "commander";
import { registerBillingCommands } from "./billing-commands.ts";
import { type Action, type GlobalOptions, withContext, withGateway } from "./command-context.ts";
import { registerCompletion } from "./completion.ts";
import { EXIT, type ExitStatus, exitStatusOf } from "./exit-status.ts";
import { registerSessionCommands } from "./session-commands.ts";

interface CommandLineOptions {
  readonly environment: EnvironmentSource;
  /** Resolves when standard output took the text. */
  write(text: string): Promise<void>;
  writeError(text: string): void;
  /** What both show of text for people; plain where it is not said. */
  readonly surfaces?: { readonly output: TextSurface; readonly errors: TextSurface };
}

/** Runs one command. Never throws; every failure is one line on standard error, as JSON where `--json` was given. */
export async function runCommandLine(argv: readonly string[], options: CommandLineOptions): Promise<ExitStatus> {
  let status: ExitStatus = EXIT.done;
  const { output: surface, errors: errorSurface } = options.surfaces ?? { output: PLAIN_SURFACE, errors: PLAIN_SURFACE };
  const out = { write: options.write, surface };
  const run = async (command: Command, action: Action): Promise<void> => {
    status = await withContext(options.environment, command.optsWithGlobals<GlobalOptions>(), out, action);
  };
  const output: string[] = [];
  const complaints: string[] = [];
  const program = createProgram(output, complaints);
  registerBillingCommands(program, run);
  registerSessionCommands(program, async (command, action) => {
    status = await withGateway(options.environment, command.optsWithGlobals<GlobalOptions>(), out, action);
  });
  registerCompletion(program, options.write);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) {
      // A group without a command is a question: what is there?
      const isHelp = error.exitCode === 0 || error.code === "commander.help";
      await options.write(asTyped([...output, ...(isHelp ? complaints : [])].join("")));
      if (isHelp) return EXIT.done;
      options.writeError(usageError(complaints.join(""), argv));
      return EXIT.badInput;
    }
    const known = toAppError(error);
    options.writeError(
      argv.includes("--json") ? errorBody(known) : fitText(`${redactSecrets(`${known.message} ${known.fix}`)}\n`, errorSurface),
    );
    return exitStatusOf(known);
  }
}

/** What commander said, with where to look; as JSON where that was asked for. */
function usageError(complaint: string, argv: readonly string[]): string {
  const message = redactSecrets(
    complaint
      .trim()
      .replace(/^error: /, "")
      .replaceAll(/\s+/g, " "),
  );
  const fix = `./scripts/${argv[0] === "session" ? "session" : "billing"} --help lists what there is.`;
  return argv.includes("--json")
    ? `${JSON.stringify({ error: { code: "invalid_request", message, fix } })}\n`
    : `error: ${message}. ${fix}\n`;
}

/** What `./scripts/billing --help` and `./scripts/session --help` print, also where nothing is installed. */
export function groupHelp(group: "billing" | "session"): string {
  const program = createProgram([], []);
  registerBillingCommands(program, async () => undefined);
  registerSessionCommands(program, async () => undefined);
  registerCompletion(program, async () => undefined);
  return asTyped(
    program.commands
      .find((command) => command.name() === group)
      ?.configureHelp({ helpWidth: 80 })
      .helpInformation() ?? "",
  );
}

/** Help names the commands as people type them. */
function asTyped(help: string): string {
  return help.replace("Usage: llm-gateway ", "Usage: ./scripts/");
}

function createProgram(output: string[], complaints: string[]): Command {
  return new Command("llm-gateway")
    .description("Command line for operators of the LLM gateway.")
    .exitOverride()
    .configureOutput({ writeOut: (text) => void output.push(text), writeErr: (text) => void complaints.push(text) })
    .showSuggestionAfterError();
}

const errorBody = (error: AppError): string =>
  `${JSON.stringify({ error: { code: error.code, message: redactSecrets(error.message), fix: error.fix } })}\n`;

function toAppError(error: unknown): AppError {
  if (isAppError(error)) return error;
  const { message } = error as Error;
  if (isTableMissing(error) && message.includes("LiteLLM_"))
    return new AppError("spend_source_missing", `The spend table does not exist: ${message}.`, { cause: error });
  if (isSchemaTooOld(error)) {
    return new AppError("migration_failed", `This database lacks what this version needs (${message}): run node scripts/migrate.ts.`, {
      cause: error,
    });
  }
  if (isDatabaseUnavailable(error) || isLoginRefused(error))
    return new AppError("database_unreachable", `PostgreSQL cannot be reached: ${message}.`, { cause: error });
  return new AppError("internal_error", `The command failed unexpectedly: ${message}.`, { cause: error });
}
