import { type Command, Option } from "commander";
import { sessionCost, sessionEnd, sessionList, sessionLogs, sessionStart, type SessionStartOptions } from "./commands/session.ts";
import type { SessionAction } from "./session-action.ts";

const JSON_OPTION = ["--json", "print JSON instead of text"] as const;
const STACK_OPTION = ["--stack <port>", "the development stack whose data plane has this port"] as const;

/** `session …`: through the gateway's API, so with no more rights than its token has. */
export function registerSessionCommands(program: Command, run: (command: Command, action: SessionAction) => Promise<void>): void {
  const session = program
    .command("session")
    .description("Sessions with a sandbox. Exit status: 0 done, 1 failed, 2 bad input, 3 unknown id, 4 refused.");
  const add = (usage: string, description: string): Command =>
    session
      .command(usage)
      .description(description)
      .option(...JSON_OPTION)
      .option(...STACK_OPTION)
      .allowExcessArguments(false);

  add("start", "launch a sandbox with an agent in it")
    .option("--org <id>", "the organization that pays; without it the development stack's own")
    .option("--id <session>", "the session's id; without it the gateway makes one")
    .option("--user <id>", "for your own records")
    .option("--model <name>", "the agent's model; without it the gateway's default")
    .option("--budget <usd>", "what the session may spend, such as 2.50")
    .option("--duration <time>", "its life, such as 4h")
    .addOption(new Option("--launcher <name>", "where the sandbox runs").choices(["local", "modal"]).default("local"))
    .option("--repo <url>", "cloned into workspace/; a token for it is taken from REPO_TOKEN")
    .option("--ref <name>", "branch, tag or commit of it")
    .addOption(new Option("--attach", "open OpenCode on it when it is ready").conflicts("json"))
    .action((options: SessionStartOptions, command: Command) => run(command, sessionStart(options)));

  add("list", "the newest sessions of an organization")
    .option("--org <id>", "the organization; without it the development stack's own")
    .option("--limit <count>", "1 to 200, 50 without it")
    .action((options: { org?: string; limit?: string }, command: Command) => run(command, sessionList(options)));

  add("logs <session>", "what the session went through, one event a line")
    .option("--follow", "go on until the session ends")
    .addOption(new Option("--agent", "what its agent wrote last, instead").conflicts("follow"))
    .action((sessionId: string, options: { follow?: boolean; agent?: boolean }, command: Command) =>
      run(command, sessionLogs(sessionId, options)),
    );

  add("cost <session>", "what it costs so far, by model").action((sessionId: string, _options: object, command: Command) =>
    run(command, sessionCost(sessionId)),
  );

  add("end <session>", "end it: key revoked, sandbox gone, usage settled").action((sessionId: string, _options: object, command: Command) =>
    run(command, sessionEnd(sessionId)),
  );
}
