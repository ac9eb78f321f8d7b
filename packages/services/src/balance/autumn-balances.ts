import { isStorableText } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import {
  type AutumnSinkOptions,
  type AutumnSubscription,
  classifyAutumnError,
  customerIdForOrg,
  decimalFromJsonNumber,
  openAutumn,
} from "../sinks/index.ts";
import type { RemoteBalance, RemoteBalances, RemoteSubscription } from "./remote-balance.ts";

/** Far more than any org will use: what an unlimited feature counts as. */
const UNLIMITED_CREDITS = "1000000000000";

/** Reads balances at Autumn. Opens nothing before the first reading. */
export function createAutumnBalances(options: AutumnSinkOptions): RemoteBalances {
  let client: ReturnType<typeof openAutumn> | undefined;
  return {
    async readBalance(orgId) {
      client ??= openAutumn(options);
      const autumn = await client;
      const customerId = customerIdForOrg(orgId);
      try {
        const customer = await autumn.customers.get({ customerId });
        if (customer.id !== customerId)
          throw new AppError("autumn_unavailable", "Autumn answered for another customer than the one that was asked for.");
        return judgeBalance(customer.balances?.[options.featureId], options.featureId, subscriptionOf(customer.subscriptions ?? []));
      } catch (error) {
        return explainFailure(error);
      }
    },
  };
}

interface WireBalance {
  readonly granted: number;
  readonly remaining: number;
  readonly usage: number;
  readonly unlimited: boolean;
  readonly nextResetAt: number | null;
}

/** The plan that counts: a running one that is no add-on; of several, one that is paid for. */
function subscriptionOf(subscriptions: readonly AutumnSubscription[]): RemoteSubscription | null {
  const running = subscriptions.filter(({ status, addOn }) => status === "active" && !addOn);
  const chosen = running.find(({ trialEndsAt }) => trialEndsAt === null) ?? running[0];
  if (chosen === undefined) return null;
  if (!isStorableText(chosen.planId)) throw unreadable("a plan");
  return { planId: chosen.planId, trialEndsAt: momentOf(chosen.trialEndsAt) };
}

/** The last moment that a Date holds; PostgreSQL's calendar is longer. */
const LAST_MOMENT_MS = 8.64e15;

function momentOf(ms: number | null): Date | null {
  if (ms === null) return null;
  if (!(ms >= 0 && ms <= LAST_MOMENT_MS)) throw unreadable("a moment");
  return new Date(ms);
}

const unreadable = (what: string): AppError => new AppError("autumn_unavailable", `Autumn's answer has ${what} that is none.`);

function judgeBalance(balance: WireBalance | undefined, featureId: string, subscription: RemoteSubscription | null): RemoteBalance {
  if (!balance) return { kind: "unknown", problem: `Autumn has no balance of ${featureId} for it; attach a plan that grants some` };
  const nextResetAt = momentOf(balance.nextResetAt);
  if (balance.unlimited)
    return {
      kind: "known",
      remainingCredits: UNLIMITED_CREDITS,
      grantedCredits: UNLIMITED_CREDITS,
      forgivenCredits: "0",
      nextResetAt,
      subscription,
    };
  const grantedCredits = decimalFromJsonNumber(balance.granted);
  const remaining = decimalFromJsonNumber(balance.remaining);
  const unspent = subtractDecimals(grantedCredits, decimalFromJsonNumber(balance.usage));
  // Of an overdrawn balance Autumn says that 0 is left. Granted 100 and used 130, it is 30 below zero. A later grant of 50 leaves 50, not
  // 20: Autumn forgets the debt.
  const isLeft = compareDecimals(remaining, "0") > 0;
  const remainingCredits = isLeft || compareDecimals(unspent, remaining) > 0 ? remaining : unspent;
  const beyond = subtractDecimals(remaining, unspent);
  const forgivenCredits = isLeft && compareDecimals(beyond, "0") > 0 ? beyond : "0";
  return { kind: "known", remainingCredits, grantedCredits, forgivenCredits, nextResetAt, subscription };
}

function explainFailure(error: unknown): RemoteBalance {
  if (error instanceof AppError) throw error;
  const outcome = classifyAutumnError(error);
  if (outcome.code === "customer_not_found")
    return { kind: "unknown", problem: "Autumn does not know this customer; create it with a plan that grants credits" };
  const code = outcome.kind === "parked" || outcome.kind === "dead" ? "autumn_rejected" : "autumn_unavailable";
  throw new AppError(code, `Autumn did not tell the balance (${outcome.code ?? "no code"}): ${outcome.message ?? ""}`, { cause: error });
}
