import { userInfo } from "node:os";
import { fileURLToPath } from "node:url";
import { resolve } from "node:path";
import { type DatabaseClient, openDatabase } from "@proliferate/db";
import { fitText, type TextSurface } from "@proliferate/runtime";
import type { Operator } from "@proliferate/services/operator";
import type { EnvironmentSource } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import type { SessionAction } from "./session-action.ts";
import { findDevelopmentStack } from "./development-stack.ts";
import { type CliConfig, parseCliConfig } from "./env.ts";
import type { ExitStatus } from "./exit-status.ts";
import { connectGateway } from "./gateway-connection.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Options that every command takes. */
export interface GlobalOptions {
  readonly json?: boolean;
  /** Data-plane port of the development stack that is meant. */
  readonly stack?: string;
}

/** Options of commands that change something by hand. */
export interface OperatorOptions {
  readonly by?: string;
  readonly reason?: string;
}

/** What a command works with. */
export interface CommandContext {
  readonly db: DatabaseClient;
  readonly json: boolean;
  /** The process's variables, completed with the development stack's where it named no database. */
  readonly environment: EnvironmentSource;
  /** Who acts, by `--by`, else OPERATOR_NAME, else the account. Throws `invalid_request` where nobody is named. */
  operator(options: OperatorOptions): Operator;
  /** Writes text for people, or with `--json` the document, to standard output and waits until it took it. */
  write(text: string): Promise<void>;
  /** The same for rows that a program reads: byte for byte, whatever shows them. */
  writeData(text: string): Promise<void>;
}

/** Standard output, and what it shows. */
interface CommandOutput {
  write(text: string): Promise<void>;
  readonly surface: TextSurface;
}

const writerFor = ({ write, surface }: CommandOutput, { json }: GlobalOptions): CommandOutput["write"] =>
  json === true ? write : (text) => write(fitText(text, surface));

/** A command, given its context; what it returns is the exit status. */
export type Action = (context: CommandContext) => Promise<ExitStatus>;

/** Opens the database, runs the action, and closes it again whatever happens. Throws as the action does. */
export async function withContext(
  environment: EnvironmentSource,
  options: GlobalOptions,
  out: CommandOutput,
  action: Action,
): Promise<ExitStatus> {
  const complete = await completeEnvironment(environment, parseCliConfig(environment), options);
  const config = parseCliConfig(complete);
  const db = openDatabase({
    connectionString: config.databaseUrl ?? "",
    litellmSchema: config.litellmSchema,
    pooling: config.pooling,
    maxConnections: 4,
    applicationName: "llm-gateway-cli",
  });
  try {
    return await action({
      db,
      json: options.json ?? false,
      environment: complete,
      operator: (given) => operatorOf(given, config.operatorName),
      write: writerFor(out, options),
      writeData: out.write,
    });
  } finally {
    await db.destroy();
  }
}

function operatorOf({ by, reason }: OperatorOptions, operatorName: string | undefined): Operator {
  const name = by ?? operatorName ?? accountName();
  if (name === undefined || name.trim() === "")
    throw new AppError("invalid_request", "Nobody is named: say who acts with --by NAME, or set OPERATOR_NAME.", { param: "by" });
  return { name, via: "cli", reason };
}

/** Undefined for a user id that has no account, as in some containers. */
function accountName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

/** Connects to the gateway of the variables, or of the running development stack, and runs the action. Throws as the action does. */
export async function withGateway(
  environment: EnvironmentSource,
  options: GlobalOptions,
  out: CommandOutput,
  action: SessionAction,
): Promise<ExitStatus> {
  const own = parseCliConfig(environment);
  const usesStack = options.stack !== undefined || (own.gatewayUrl === undefined && own.gatewayToken === undefined);
  // What the shell says of organization and agent wins; where it says nothing, the stack's own are meant.
  const stack = usesStack
    ? parseCliConfig({
        DEV_ORG_ID: environment["DEV_ORG_ID"],
        OPENCODE_COMMAND: environment["OPENCODE_COMMAND"],
        ...(await stackOf(own, options, environment)),
      })
    : own;
  const { gatewayUrl, gatewayToken, orgId, opencode } = stack;
  return action({
    gateway: connectGateway(gatewayUrl, gatewayToken),
    json: options.json ?? false,
    orgId,
    repoToken: own.repoToken,
    opencode,
    environment,
    write: writerFor(out, options),
  });
}

/** The stack's variables without those that the shell sets itself. */
async function stackOf(own: CliConfig, options: GlobalOptions, environment: EnvironmentSource): Promise<EnvironmentSource> {
  const stack = await findDevelopmentStack(resolve(ROOT, own.stateFolder), options.stack);
  const isOwn = (name: string): boolean => OF_THE_SHELL.has(name) && (environment[name] ?? "") !== "";
  return Object.fromEntries(Object.entries(stack).filter(([name]) => !isOwn(name)));
}

const OF_THE_SHELL: ReadonlySet<string> = new Set(["DEV_ORG_ID", "OPENCODE_COMMAND"]);

/** A stack that is asked for wins over DATABASE_URL: naming one is more deliberate than a variable of the shell. */
async function completeEnvironment(environment: EnvironmentSource, config: CliConfig, options: GlobalOptions): Promise<EnvironmentSource> {
  if (config.databaseUrl !== undefined && options.stack === undefined) return environment;
  const stack = await findDevelopmentStack(resolve(ROOT, config.stateFolder), options.stack);
  return { ...environment, POSTGRES_CONNECTION_STRING: undefined, ...stack };
}
