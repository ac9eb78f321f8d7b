import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { compareDecimals, CREDITS_PER_USD, multiplyDecimals, subtractDecimals } from "@proliferate/shared/money";
import type { CreateSessionResponse } from "@proliferate/shared/contracts";
import { type AgentAnswer, askWithSdk } from "./agent-request.ts";
import { readCreditUsage } from "./autumn-balance.ts";
import { createSession, endSession, launchSession, type SessionRequest } from "./gateway-client.ts";
import { askOpencode } from "./opencode.ts";
import type { Screen } from "./screen.ts";
import type { Stack } from "./stack.ts";
import {
  countInFlight,
  countUnsettled,
  type EventFacts,
  readEvents,
  readSettlement,
  readSpend,
  type SettlementFacts,
  type SpendFacts,
} from "./trail-queries.ts";

/** What `--json` prints. Amounts are decimal text. */
interface PassReport {
  readonly ok: boolean;
  readonly engine: string;
  readonly session_id: string;
  readonly org_id: string;
  readonly model: string;
  /** The last request of the session. */
  readonly request_id: string;
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly spend_usd: string;
  readonly credits: string;
  /** Difference of what Autumn says was used, after minus before. */
  readonly autumn_deducted: string;
  /** Settlement batches that Autumn took. */
  readonly deliveries: number;
  /** From the end of the last request to its delivery. */
  readonly lag_ms: number;
  readonly elapsed_ms: number;
}

export interface PassResult {
  readonly report: PassReport;
  /** Whose key can be pasted elsewhere; undefined where it stays in a sandbox. */
  readonly session: CreateSessionResponse | undefined;
}

const STAGE_TIMEOUT_MS = 60_000;

/** Waits for a fact to show up in the database; the message says what did not happen. */
async function until<Fact>(what: string, read: () => Promise<Fact | undefined | false>): Promise<Fact> {
  const deadline = Date.now() + STAGE_TIMEOUT_MS;
  for (;;) {
    const fact = await read();
    if (fact !== undefined && fact !== false) return fact;
    if (Date.now() > deadline)
      throw new Error(`${what} did not happen within ${STAGE_TIMEOUT_MS / 1_000} s; the worker's log and /status say why.`);
    await delay(50);
  }
}

interface PassOptions {
  readonly orgId: string;
  readonly model: string;
  readonly agent: PassAgent;
}

/** Who makes the request of a pass. */
export interface PassAgent {
  readonly name: string;
  /** Starts the session through the gateway. */
  begin(stack: Stack, request: SessionRequest): Promise<BegunSession>;
}

interface BegunSession {
  /** For the screen: what there is now. */
  readonly stage: readonly [name: string, text: string];
  readonly session: CreateSessionResponse | undefined;
  ask(): Promise<AgentAnswer>;
  /** Called once, whatever came of `ask`. */
  finish(): Promise<void>;
}

/** The official Anthropic SDK, with the key of a session. */
export const SDK_AGENT: PassAgent = {
  name: "@anthropic-ai/sdk",
  begin: async (stack, request) => {
    const session = await createSession(stack, request);
    const text = `${session.api_key.slice(0, 6)}…${session.api_key.slice(-4)}  team ${session.org_id}, user ${session.session_id}, expires ${session.expires_at}`;
    return { stage: ["key minted", text], session, ask: () => askWithSdk(session), finish: async () => undefined };
  },
};

/** The real OpenCode, in a sandbox that the gateway launches; the session ends with its task. */
export const opencodeAgent = (version: string): PassAgent => ({
  name: `OpenCode ${version}`,
  begin: async (stack, request) => {
    const { agent, sandbox, session_id: sessionId, org_id: orgId, expires_at: expiresAt } = await launchSession(stack, request);
    const text = `${sandbox.sandbox_id} at ${agent.url}  team ${orgId}, user ${sessionId}, expires ${expiresAt}`;
    return {
      stage: ["sandbox ready", text],
      session: undefined,
      ask: () => askOpencode(agent),
      finish: () => endSession(stack, sessionId),
    };
  },
});

/**
 * One real pass of the main job, from the key to Autumn's balance, printing each stage as it happens. Exact: `ok` is
 * true only if Autumn's usage grew by spend x markup x 100, as decimals, and by what the batches say.
 */
export async function runPass(stack: Stack, screen: Screen, options: PassOptions): Promise<PassResult> {
  const startedAt = performance.now();
  await settleLeftovers(stack, screen, options.orgId);
  const before = await readCreditUsage(stack.autumn, options.orgId);

  const sessionId = `session_${randomBytes(6).toString("hex")}`;
  const begun = await options.agent.begin(stack, { sessionId, orgId: options.orgId, model: options.model });
  screen.stage(...begun.stage);
  const answer = await begun.ask().finally(() => begun.finish());
  const spend = await until("The spend row", async () =>
    (await countInFlight(stack.db, sessionId)) === 0 ? readSpend(stack.db, sessionId) : undefined,
  );
  printRequest(screen, options, answer, spend);

  const events = await until("The billing event", async () => {
    const found = await readEvents(stack.db, sessionId);
    return found?.events === spend.rows ? found : undefined;
  });
  screen.stage(
    "billing event",
    `$${events.spendUsd} x markup ${events.markup} x ${CREDITS_PER_USD} = ${events.credits} credits (${events.events} of ${spend.rows} rows)`,
  );

  const settlement = await until("The settlement", () => readSettlement(stack.db, sessionId, events.events));
  screen.stage(
    "settlement batch",
    `${settlement.batches} delivered in ${settlement.calls} call${settlement.calls === 1 ? "" : "s"}, key ${settlement.idempotencyKeys.join(", ")}`,
  );

  const after = await readCreditUsage(stack.autumn, options.orgId);
  const deducted = subtractDecimals(after.usage, before.usage);
  screen.stage("Autumn balance", `${before.remaining} → ${after.remaining} credits (used ${before.usage} → ${after.usage}: ${deducted})`);
  return {
    report: report(stack, options, {
      sessionId,
      spend,
      events,
      settlement,
      deducted,
      elapsedMs: Math.round(performance.now() - startedAt),
    }),
    session: begun.session,
  };
}

/** An earlier run that was killed may have left spend unsettled; it is billed first, so that the difference below is ours alone. */
async function settleLeftovers(stack: Stack, screen: Screen, orgId: string): Promise<void> {
  const left = await countUnsettled(stack.db, orgId);
  if (left.events + left.batches > 0)
    screen.stage("recovery", `an earlier run left ${left.events} requests and ${left.batches} batches unsettled; settling them first`);
  await until("Settling what an earlier run left", async () => {
    const now = await countUnsettled(stack.db, orgId);
    return now.events + now.batches === 0;
  });
}

function printRequest(screen: Screen, options: PassOptions, answer: AgentAnswer, spend: SpendFacts): void {
  const first = answer.firstTokenMs === undefined ? "" : `, first token ${answer.firstTokenMs} ms`;
  screen.stage("request", `${options.model} by ${options.agent.name}: ${answer.latencyMs} ms${first}`);
  screen.stage("", `"${answer.text.replace(/\s+/g, " ").slice(0, 100)}"`);
  const cached = `${spend.cacheReadTokens} read from and ${spend.cacheWriteTokens} written to the cache`;
  screen.stage(
    "spend row",
    `${spend.rows} row${spend.rows === 1 ? "" : "s"}, ${spend.promptTokens} tokens in (${cached}), ${spend.completionTokens} out: $${spend.spendUsd}`,
  );
}

function report(
  stack: Stack,
  options: PassOptions,
  facts: { sessionId: string; spend: SpendFacts; events: EventFacts; settlement: SettlementFacts; deducted: string; elapsedMs: number },
): PassReport {
  const { spend, events, settlement, deducted } = facts;
  const owed = multiplyDecimals(multiplyDecimals(spend.spendUsd, events.markup), CREDITS_PER_USD);
  const exact = [events.credits, deducted, settlement.deducted].every((amount) => compareDecimals(amount, owed) === 0);
  return {
    ok: exact,
    engine: stack.engine,
    session_id: facts.sessionId,
    org_id: options.orgId,
    model: options.model,
    request_id: spend.requestId,
    requests: spend.rows,
    prompt_tokens: spend.promptTokens,
    completion_tokens: spend.completionTokens,
    spend_usd: spend.spendUsd,
    credits: events.credits,
    autumn_deducted: deducted,
    deliveries: settlement.batches,
    lag_ms: Math.max(0, settlement.deliveredAt.getTime() - spend.lastEndTime.getTime()),
    elapsed_ms: facts.elapsedMs,
  };
}
