import { type Command, Option } from "commander";
import type { Action } from "./command-context.ts";
import { explain } from "./commands/explain.ts";
import { exportLedger, type ExportOptions } from "./commands/export.ts";
import { redriveOne } from "./commands/redrive.ts";
import { status } from "./commands/status.ts";

const JSON_OPTION = ["--json", "print JSON instead of text"] as const;
const STACK_OPTION = ["--stack <port>", "the development stack whose data plane has this port"] as const;
const RANGE_HELP = "a day (UTC) or an instant with its zone";

/** `billing …`: every command reads, or can be repeated without doing anything twice. */
export function registerBillingCommands(program: Command, run: (command: Command, action: Action) => Promise<void>): void {
  const billing = program.command("billing").description("The ledger and its settlement. Exit status: 0 done, 1 failed, 2 bad input, 3 unknown id, 4 refused, 5 a check found a problem.");
  const add = (usage: string, description: string): Command => billing.command(usage).description(description).option(...JSON_OPTION).option(...STACK_OPTION).allowExcessArguments(false);

  add("status", "where every credit is, and whether spend rows and ledger agree to the last digit")
    .option("--from <instant>", `compare only requests since then: ${RANGE_HELP}`)
    .action((options: { from?: string }, command: Command) => run(command, status(options)));

  add("explain <id>", "spend row, rate, arithmetic, batch, key, attempts, answer and balance behind a request, event, batch or review id")
    .action((id: string, _options: object, command: Command) => run(command, explain(id)));

  add("redrive <id>", "send a parked or dead batch again, after its cause was corrected")
    .action((id: string, _options: object, command: Command) => run(command, redriveOne(id)));

  add("export", "every event with its batch, in CSV, or with --json one object a line")
    .addOption(new Option("--csv", "CSV, as it is without --json").conflicts("json"))
    .option("--org <id>", "one organization")
    .option("--from <instant>", `requests that began then or later: ${RANGE_HELP}`)
    .option("--to <instant>", `requests that began before: ${RANGE_HELP}`)
    .action((options: ExportOptions, command: Command) => run(command, exportLedger(options)));
}
