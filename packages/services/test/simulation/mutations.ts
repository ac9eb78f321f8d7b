import { DEFECTS } from "@proliferate/access/test/limit-model/defects";
import type { Move } from "./schedule.ts";
import type { AutumnClient } from "../../src/sinks/autumn/autumn-client.ts";
import type { SettlementSink } from "../../src/sinks/port/sink.ts";
import type { StatementRewrite } from "@proliferate/db/test/simulated-process";

/** A defect that is planted into the running code, to prove that the simulation finds it. */
export interface Mutation {
  readonly rewrite: StatementRewrite;
  readonly sink: (sink: SettlementSink) => SettlementSink;
  /** What the sink makes of Autumn's answers. */
  readonly client: (client: AutumnClient) => AutumnClient;
  /** Moves that the defect needs more of than other schedules have. */
  readonly oftener?: readonly Move["kind"][];
}

export const NO_MUTATION: Mutation = { rewrite: (statement) => statement, sink: (sink) => sink, client: (client) => client };

/** A pattern that no longer occurs plants nothing, and then its test fails. */
function rewriting(pattern: RegExp, replacement: string): Mutation {
  return { ...NO_MUTATION, rewrite: (statement) => statement.replace(pattern, replacement) };
}

/** Of those that the model of limits is proved by. */
const LIMIT_DEFECTS = [
  "a settlement keeps what it reserved",
  "what was reserved counts, not what was taken",
  "a request is settled in the window in which it ends",
  "limits of the payer are passed over",
] as const;

/** What an engineer might break, by name. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  "fencing is disabled": rewriting(/(?<!set |, )(b\.)?\blease_token = (\$\d+)/g, "($1lease_token = $2 or true)"),
  "an account forgets what was open before": rewriting(
    /else a\.open_credits \+ excluded\.open_credits end/,
    "else excluded.open_credits end",
  ),
  "the carry is skipped": rewriting(/a\.carry_credits as carry_in/, "0::numeric as carry_in"),
  "every attempt has a key of its own": {
    ...NO_MUTATION,
    sink: (sink) => {
      let attempts = 0;
      return {
        ...sink,
        deliver: (delivery) => sink.deliver({ ...delivery, idempotencyKey: `${delivery.idempotencyKey}/${(attempts += 1)}` }),
      };
    },
  },
  "amounts pass through a float": rewriting(/s\.spend::text::numeric/, "s.spend::numeric"),
  // Of what reads the source; rows that a person maps are looked up one by one.
  "rows are read behind a cursor": rewriting(
    /(from "LiteLLM_SpendLogs" s[^;]*?)\), priced as \(/,
    `$1
    and s."startTime" >= coalesce((select max(e.occurred_at) at time zone 'UTC' from billing_events e), '-infinity')), priced as (`,
  ),
  "an org's own rate card is passed over": rewriting(/coalesce\(own\.markup, base\.markup, /g, "coalesce(base.markup, "),
  "a row that a person mapped is billed at nothing": rewriting(/r\.spend_usd::numeric as spend_usd/, "0::numeric as spend_usd"),
  "the audit overlooks deleted events": rewriting(/then 'event_deleted'/g, "then null"),
  "usage is not taken from the balance": rewriting(
    /balance_credits = a\.balance_credits - excluded\.open_credits/g,
    "balance_credits = a.balance_credits",
  ),
  "a balance is overwritten by what Autumn says": rewriting(
    /select a\.balance_credits, u\.certain_credits,/,
    "select a.balance_credits, 0::numeric as certain_credits,",
  ),
  "an attempt is not put on record before it is made": rewriting(
    /first_sent_at = coalesce\(b\.first_sent_at, \(select now from clock\)\)/,
    "first_sent_at = b.first_sent_at",
  ),
  "keys are used although Autumn has forgotten them": rewriting(
    /(first_sent_at (?:<|>=)) \(select (?:billing_now\(\)|now from clock)\) -/g,
    "$1 '-infinity'::timestamptz -",
  ),
  "a success that took nothing counts as delivered": {
    ...NO_MUTATION,
    sink: (sink) => ({
      ...sink,
      deliver: async (delivery) => {
        const outcome = await sink.deliver(delivery);
        return outcome.kind === "unapplied" ? { kind: "delivered", status: 200, deductedCredits: delivery.credits } : outcome;
      },
    }),
  },
  "a lost answer is taken for a refusal": {
    ...NO_MUTATION,
    sink: (sink) => ({
      ...sink,
      deliver: async (delivery) => {
        const outcome = await sink.deliver(delivery);
        return outcome.kind === "unknown" ? { kind: "unavailable", code: "guessed" } : outcome;
      },
    }),
  },
  "what the list lacks is taken for not taken, whatever the balance says": {
    ...NO_MUTATION,
    sink: ({ ledger, ...sink }) => ({
      ...sink,
      ...(ledger && { ledger: { listDeductions: ledger.listDeductions, correct: ledger.correct } }),
    }),
  },
  "an event that took nothing counts as what was asked": {
    ...NO_MUTATION,
    // An event takes nothing where a customer has no balance, and an answer has to be lost, too.
    oftener: ["customer"],
    client: (client) => ({
      ...client,
      events: {
        list: async (request) => {
          const page = await client.events.list(request);
          return { ...page, list: page.list.map((event) => ({ ...event, deductions: event.deductions ?? [{ value: event.value }] })) };
        },
      },
    }),
  },
  "amounts are sealed to fifteen digits": rewriting(
    /settleable_credits\(a\.credits \+ a\.carry_credits\)/,
    `
    trim_scale(trunc(a.credits + a.carry_credits, least(10, 15 - case when a.credits + a.carry_credits >= 1 then length(trunc(a.credits + a.carry_credits)::text) else 0 end)))`,
  ),
  "an org whose balance vanished never has one again": { ...NO_MUTATION, sink: (sink) => ({ ...sink, hasBalance: async () => false }) },
  "what a cap did not cover stays owed": rewriting(/where moved\.state = 'shortfall' and/, "where moved.state = 'never' and"),
  ...Object.fromEntries(
    LIMIT_DEFECTS.map((name) => [
      `limits: ${name}`,
      { ...NO_MUTATION, rewrite: DEFECTS[name]?.rewrite ?? NO_MUTATION.rewrite, oftener: ["traffic"] },
    ]),
  ),
};
