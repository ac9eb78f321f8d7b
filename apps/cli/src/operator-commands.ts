import type { Command } from "commander";
import type { Action, OperatorOptions } from "./command-context.ts";
import { actions } from "./commands/actions.ts";
import { customerList, customerMap } from "./commands/customer.ts";
import { decideOne } from "./commands/decide.ts";
import { orgFlush, orgList, type OrgListOptions, orgResume, orgSet, type OrgSetOptions, orgShow, orgSuspend } from "./commands/org.ts";
import { payerList, type PayerListOptions, payerSet, payerUnset } from "./commands/payer.ts";
import { type RepriceOptions, repriceRows } from "./commands/reprice.ts";
import { retire } from "./commands/retire-month.ts";
import { reviewList, type ReviewListOptions, reviewMapKey } from "./commands/review.ts";
import {
  topUpList,
  type TopUpListOptions,
  topUpRemove,
  topUpResetBreaker,
  topUpSet,
  type TopUpSetOptions,
  topUpSettle,
  topUpShow,
} from "./commands/top-up.ts";

type Run = (command: Command, action: Action) => Promise<void>;
type Add = (usage: string, description: string, parent?: Command) => Command;

const CREATE_OPTION = ["--create", "also where billing does not know the organization yet; without it a typing error is refused"] as const;

/** Who and why, for what is put on record. */
export const byHand = (command: Command): Command =>
  command.option("--by <name>", "who acts; without it OPERATOR_NAME, else your account").option("--reason <text>", "why, for the record");

/** What a person decides or sets: `billing org`, `payer`, `top-up`, `decide`, `customer`, `review`, `retire-month`, `reprice`, `actions`. Each change is put on record with who and why. */
export function registerOperatorCommands(billing: Command, add: Add, run: Run): void {
  registerOrgCommands(billing.command("org").description("organizations: where they stand, and what they are allowed"), add, run);
  registerPayerCommands(billing.command("payer").description("who is billed for a team, where it is not the team itself"), add, run);
  registerTopUpCommands(billing.command("top-up").description("packs that are bought when a balance runs low"), add, run);
  registerReviewCommands(billing.command("review").description("spend rows that wait for a person"), add, run);
  const customer = billing.command("customer").description("what a sink calls an organization: Stripe's cus_…; Autumn needs no mapping");
  byHand(
    add("map <org> <customer>", "say which customer an organization is; what waited for it is due at once", customer)
      .option("--sink <name>", "the sink", "stripe")
      .option(...CREATE_OPTION),
  ).action((orgId: string, customerId: string, options: OperatorOptions & { sink: string; create?: boolean }, command: Command) =>
    run(command, customerMap(orgId, customerId, options)),
  );
  add("list", "every mapping", customer)
    .option("--sink <name>", "one sink")
    .option("--org <id>", "one organization")
    .action((options: { sink?: string; org?: string }, command: Command) => run(command, customerList(options)));
  byHand(add("decide <batch>", "decide what neither its key nor the sink's record tells: look at the sink first; --reason is required"))
    .option("--delivered", "the sink took all of it")
    .option("--not-delivered", "the sink took none of it; it is sent again under its next key")
    .action((id: string, options: OperatorOptions & { delivered?: boolean; notDelivered?: boolean }, command: Command) =>
      run(command, decideOne(id, options)),
    );
  byHand(
    add("retire-month <month>", "take a month such as 2026-01, by the time of recording, out of the ledger; without --apply it only tells"),
  )
    .option("--apply", "do it; the table stays, detached")
    .action((month: string, options: OperatorOptions & { apply?: boolean }, command: Command) => run(command, retire(month, options)));
  byHand(add("reprice", "price spend rows anew by today's table and what their providers reported; without --apply it only tells"))
    .requiredOption("--from <instant>", "requests that began from then on: a day (UTC) or an instant")
    .option("--to <instant>", "and before then; without it now")
    .option("--model <name>", "as spend rows name it, such as anthropic/claude-sonnet-5")
    .option("--request <id>", "one request")
    .option("--unknown", "only rows of which a part had no price (reviews unknown_usage)")
    .option("--apply", "write the corrections; --reason is required")
    .action((options: RepriceOptions, command: Command) => run(command, repriceRows(options)));
  add("actions", "who did what by hand, newest first")
    .option("--org <id>", "one organization")
    .option("--subject <id>", "what it was done to: a batch, a pack, a review, a key's hash, a month")
    .option("--limit <count>", "50 without it")
    .action((options: { org?: string; subject?: string; limit?: string }, command: Command) => run(command, actions(options)));
}

function registerOrgCommands(org: Command, add: Add, run: Run): void {
  add("list", "state, balance, drift, credits that rest, sessions; by id", org)
    .option("--state <state>", "one of unconfigured, trial, active, grace, exhausted, suspended")
    .option("--limit <count>", "100 without it, 500 at most")
    .option("--after <id>", "the next page: after this organization")
    .action((options: OrgListOptions, command: Command) => run(command, orgList(options)));
  add("show <org>", "everything about one of them", org).action((orgId: string, _options: object, command: Command) =>
    run(command, orgShow(orgId)),
  );
  byHand(
    add(
      "suspend <org>",
      "refuse it everything; its keys are blocked at the worker's next tick; --reason is required and told to whoever is refused",
      org,
    ).option(...CREATE_OPTION),
  ).action((orgId: string, options: OperatorOptions & { create?: boolean }, command: Command) => run(command, orgSuspend(orgId, options)));
  byHand(add("resume <org>", "end a suspension; the balance decides what follows", org)).action(
    (orgId: string, options: OperatorOptions, command: Command) => run(command, orgResume(orgId, options)),
  );
  byHand(add("set <org>", "change settings; what is left out stays", org))
    .option(
      "--mode <mode>",
      "settled: what it uses is sent to the sink; kept: it stays on the ledger, for good; refused while something is to be settled",
    )
    .option("--plan <plan>", "paid or trial; trial gets no grace")
    .option("--grace <time>", "how long running work may end after the last credit: 0, 30s, 5m, at most 1h")
    .option("--overdraft <credits>", "how far below zero grace may go")
    .option("--min-credits <credits>", "what is needed to begin work")
    .option("--max-sessions <count>", "sessions at once, or none for no limit")
    .option("--low-balance <credits>", "below it the webhook is told, and usage is settled sooner")
    .option(...CREATE_OPTION)
    .action((orgId: string, options: OrgSetOptions, command: Command) => run(command, orgSet(orgId, options)));
  add("flush <org>", "settle its usage at once, ahead of the worker's pass", org).action(
    (orgId: string, _options: object, command: Command) => run(command, orgFlush(orgId)),
  );
}

function registerPayerCommands(payer: Command, add: Add, run: Run): void {
  byHand(
    add("set <team> <org>", "bill the organization for what the team uses from now on; what is on the ledger stays", payer).option(
      ...CREATE_OPTION,
    ),
  ).action((teamId: string, orgId: string, options: OperatorOptions & { create?: boolean }, command: Command) =>
    run(command, payerSet(teamId, orgId, options)),
  );
  byHand(add("unset <team>", "let it pay for itself again, from now on", payer)).action(
    (teamId: string, options: OperatorOptions, command: Command) => run(command, payerUnset(teamId, options)),
  );
  add("list", "teams that another organization pays for, by id", payer)
    .option("--org <id>", "those that this one pays for")
    .option("--limit <count>", "100 without it, 500 at most")
    .option("--after <team>", "the next page: after this team")
    .action((options: PayerListOptions, command: Command) => run(command, payerList(options)));
}

function registerTopUpCommands(topUp: Command, add: Add, run: Run): void {
  add("show <org>", "its policy and its last packs", topUp).action((orgId: string, _options: object, command: Command) =>
    run(command, topUpShow(orgId)),
  );
  byHand(add("set <org>", "the policy as a whole; what is left out has its default", topUp))
    .requiredOption("--plan <id>", "the sink's plan that sells the pack")
    .requiredOption("--credits <credits>", "credits in a pack")
    .option("--threshold <credits>", "bought when the balance is at or below; 0 without it")
    .option("--max-per-month <count>", "packs in a month of UTC; 20 without it")
    .option("--min-interval <time>", "between two packs; 60s without it")
    .option("--disabled", "keep the policy, buy nothing")
    .option(...CREATE_OPTION)
    .action((orgId: string, options: TopUpSetOptions, command: Command) => run(command, topUpSet(orgId, options)));
  byHand(add("remove <org>", "take the policy away; refused while a pack is under way", topUp)).action(
    (orgId: string, options: OperatorOptions, command: Command) => run(command, topUpRemove(orgId, options)),
  );
  byHand(add("reset-breaker <org>", "let it buy again after a declined card was replaced", topUp)).action(
    (orgId: string, options: OperatorOptions, command: Command) => run(command, topUpResetBreaker(orgId, options)),
  );
  add("list", "packs, newest first", topUp)
    .option("--org <id>", "one organization")
    .option("--state <state>", "one of charging, unknown, paid, declined, needs_review")
    .option("--limit <count>", "50 without it")
    .action((options: TopUpListOptions, command: Command) => run(command, topUpList(options)));
  byHand(add("settle <pack>", "of a pack in needs_review: look at the sink, then say what it shows; --reason is required", topUp))
    .option("--bought", "it was paid; its credits come in with the balance")
    .option("--not-bought", "it was not; the organization may buy again")
    .action((id: string, options: OperatorOptions & { bought?: boolean; notBought?: boolean }, command: Command) =>
      run(command, topUpSettle(id, options)),
    );
}

function registerReviewCommands(review: Command, add: Add, run: Run): void {
  add("list", "those that are open, oldest first; billing redrive and billing dismiss settle them", review)
    .option("--org <id>", "one organization; rows without owner are nobody's")
    .option(
      "--reason <reason>",
      "no_org, no_request_id, bad_spend, recycled_id, unlinked_refund, excess_refund, zero_price, unknown_usage, retired_month",
    )
    .option("--all", "settled ones, too")
    .option("--limit <count>", "100 without it, 1000 at most")
    .option("--after <review>", "the next page: after this review")
    .action((options: ReviewListOptions, command: Command) => run(command, reviewList(options)));
  byHand(
    add("map-key <hash>", "say whose a key is: its rows in review are billed at once, and those to come", review)
      .requiredOption("--org <id>", "the organization that pays")
      .option(...CREATE_OPTION),
  ).action((keyHash: string, options: OperatorOptions & { org: string; create?: boolean }, command: Command) =>
    run(command, reviewMapKey(keyHash, options)),
  );
}
