import { type Command, Option } from "commander";
import type { Action, OperatorOptions } from "./command-context.ts";
import { audit, type AuditCommandOptions } from "./commands/audit.ts";
import { clearOneAlert } from "./commands/clear-alert.ts";
import { explain } from "./commands/explain.ts";
import { exportLedger, type ExportOptions } from "./commands/export.ts";
import { type RateCardAddOptions, rateCardAdd, rateCardList } from "./commands/rate-card.ts";
import { doctor } from "./commands/doctor.ts";
import { reconcile, type ReconcileCommandOptions } from "./commands/reconcile.ts";
import { dismissOne, redriveOne } from "./commands/redrive.ts";
import { status, type StatusCommandOptions } from "./commands/status.ts";
import { byHand, registerOperatorCommands } from "./operator-commands.ts";

const JSON_OPTION = ["--json", "print JSON instead of text"] as const;
const STACK_OPTION = ["--stack <port>", "the development stack whose data plane has this port"] as const;
const RANGE_HELP = "a day (UTC) or an instant with its zone";

/** `billing …`: every command reads, or can be repeated without doing anything twice. */
export function registerBillingCommands(program: Command, run: (command: Command, action: Action) => Promise<void>): void {
  const billing = program
    .command("billing")
    .description(
      "The ledger and its settlement. Exit status: 0 done, 1 failed, 2 bad input, 3 unknown id, 4 refused, 5 a check found a problem.",
    );
  const add = (usage: string, description: string, parent = billing): Command =>
    parent
      .command(usage)
      .description(description)
      .option(...JSON_OPTION)
      .option(...STACK_OPTION)
      .allowExcessArguments(false);

  add("status", "where every credit is, and whether spend rows and ledger agree to the last digit")
    .option("--from <instant>", `compare requests since then: ${RANGE_HELP}; without it those of the last two days`)
    .addOption(new Option("--all", "compare all requests there are: reads both tables from end to end").conflicts("from"))
    .action((options: StatusCommandOptions, command: Command) => run(command, status(options)));

  add(
    "explain <id>",
    "spend row, rate, arithmetic, batch, key, attempts, answer and balance behind a request, event, batch or review id",
  ).action((id: string, _options: object, command: Command) => run(command, explain(id)));

  byHand(add("redrive <id>", "send a parked or dead batch again after its cause was corrected, or bill a spend row in review"))
    .option("--org <id>", "of a review: the organization that pays for the row")
    .option("--create", "of a review: also where billing does not know the organization yet")
    .action((id: string, options: OperatorOptions & { org?: string; create?: boolean }, command: Command) =>
      run(command, redriveOne(id, options)),
    );
  byHand(add("dismiss <review>", "close a review without billing it: somebody looked, and there is nothing to bill")).action(
    (id: string, options: OperatorOptions, command: Command) => run(command, dismissOne(id, options)),
  );
  byHand(
    add("clear-alert <key>", "close an alert that status tells, after its cause was looked at; it is raised again if it happens again"),
  ).action((key: string, options: OperatorOptions, command: Command) => run(command, clearOneAlert(key, options)));
  add("export", "every event with its batch, in CSV, or with --json one object a line")
    .addOption(new Option("--csv", "CSV, as it is without --json").conflicts("json"))
    .option("--org <id>", "one organization")
    .option("--from <instant>", `requests that began then or later: ${RANGE_HELP}`)
    .option("--to <instant>", `requests that began before: ${RANGE_HELP}`)
    .action((options: ExportOptions, command: Command) => run(command, exportLedger(options)));

  add("doctor", "look at the sink as deliveries will meet it: key, mode, version, feature, its list, who buys credits; reads only").action(
    (_options: object, command: Command) => run(command, doctor()),
  );
  add("reconcile", "compare deliveries and balances with the sink, decide what is undecided, correct our balances")
    .option("--dry-run", "only tell what would be done")
    .addOption(new Option("--apply-corrections", "deduct or give back at the sink what it took too little or too much").conflicts("dryRun"))
    .option("--org <id>", "one organization")
    .action((options: ReconcileCommandOptions, command: Command) => run(command, reconcile(options)));

  add("audit", "compare spend rows with the ledger by organization and day, and keep the outcome")
    .requiredOption("--from <instant>", `requests that began then or later: ${RANGE_HELP}`)
    .requiredOption(
      "--to <instant>",
      `requests that began before: ${RANGE_HELP}; a few minutes back, or rows that wait are told as missing`,
    )
    .option("--heal", "bill what was never billed, adjust amounts, put deleted events back")
    .action((options: AuditCommandOptions, command: Command) => run(command, audit(options)));

  const rateCard = billing.command("rate-card").description("what spend costs in credits, by the time at which a request began");
  byHand(add("add", "from a time on; an open-ended card of the same owner ends there, and what is billed stays as it is", rateCard))
    .requiredOption("--markup <factor>", "factor on the provider's price, such as 3 or 2.5")
    .option("--credits-per-usd <credits>", "100 makes 1 credit = $0.01", "100")
    .option("--org <id>", "the organization; without it the default of all")
    .option("--from <instant>", `${RANGE_HELP}; without it now`)
    .option("--to <instant>", `${RANGE_HELP}; without it no end`)
    .action((options: RateCardAddOptions, command: Command) => run(command, rateCardAdd(options)));
  add("list", "the defaults first, then each organization's own", rateCard)
    .option("--org <id>", "its own cards and the defaults")
    .action((options: { org?: string }, command: Command) => run(command, rateCardList(options)));
  registerOperatorCommands(billing, add, run);
}
