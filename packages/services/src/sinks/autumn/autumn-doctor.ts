import type { AutumnClient, AutumnFeature } from "./autumn-client.ts";
import { classifyAutumnError } from "./autumn-errors.ts";
import { problemOfFeature } from "./autumn-feature.ts";
import { createAutumnLedger } from "./autumn-ledger.ts";
import { cleanAutumnSecretKey } from "./autumn-settings.ts";
import { customerIdForOrg } from "./customer-id.ts";

/** One thing that was looked at. */
export interface SinkCheck {
  readonly name: "key" | "account" | "feature" | "event_list" | "top_up";
  /** `skipped`: it could not be looked at, and `message` says why. `warning`: it works, and not as well as it could. */
  readonly outcome: "ok" | "warning" | "failed" | "skipped";
  readonly message: string;
}

interface AutumnExamination {
  readonly secretKey: string;
  readonly featureId: string;
  readonly apiVersion: string;
  /** Some organizations that billing knows; the list of events can be asked for by customer only. */
  readonly orgIds: readonly string[];
  /** Those for which we buy packs. */
  readonly toppedUpOrgIds: readonly string[];
}

/**
 * Looks at an Autumn account as deliveries will meet it, before the first batch: key and mode, reachability and version,
 * the feature, whether deductions are listed, and whether two buy credits for one customer. Reads only, deducts nothing,
 * creates nobody. Never throws for what Autumn does. No message holds a key.
 */
export async function examineAutumn(client: AutumnClient, subject: AutumnExamination): Promise<readonly SinkCheck[]> {
  const features = await listFeatures(client);
  if ("kind" in features) return [checkKey(subject.secretKey), accountProblem(features, subject)];
  const account = { name: "account", outcome: "ok", message: `Autumn answers, with version ${subject.apiVersion} of its API.` } as const;
  return [
    checkKey(subject.secretKey),
    account,
    checkFeature(features, subject.featureId),
    await checkEventList(client, subject),
    await checkTopUps(client, subject),
  ];
}

function checkKey(secretKey: string): SinkCheck {
  const key = cleanAutumnSecretKey(secretKey);
  if (key.startsWith("am_sk_live")) return { name: "key", outcome: "ok", message: "A live key: customers are charged." };
  if (key.startsWith("am_sk_test")) return { name: "key", outcome: "ok", message: "A test key: nobody is charged." };
  if (key.startsWith("am_"))
    return {
      name: "key",
      outcome: "warning",
      message: "Neither a live nor a test key of Autumn (am_sk_live_…, am_sk_test_…), but of its form.",
    };
  return { name: "key", outcome: "failed", message: "AUTUMN_API_KEY is no key of Autumn: those begin with am_sk_live_ or am_sk_test_." };
}

type Failure = ReturnType<typeof classifyAutumnError>;

async function listFeatures(client: AutumnClient): Promise<readonly AutumnFeature[] | Failure> {
  try {
    return (await client.features.list()).list;
  } catch (error) {
    return classifyAutumnError(error);
  }
}

function accountProblem({ status, code, message }: Failure, { apiVersion }: AutumnExamination): SinkCheck {
  const fix =
    code === "invalid_api_version"
      ? `this Autumn does not serve version ${apiVersion} of its API; set AUTUMN_API_VERSION to one that it serves (at least 2.1)`
      : status === 401 || status === 403
        ? "the key is not valid here; set AUTUMN_API_KEY to a secret key of this account and environment"
        : "check AUTUMN_API_URL and the network";
  return {
    name: "account",
    outcome: "failed",
    message: `Autumn does not let us in (${code ?? "no code"}): ${message ?? ""} Mend: ${fix}.`,
  };
}

function checkFeature(features: readonly AutumnFeature[], featureId: string): SinkCheck {
  const problem = problemOfFeature(features, featureId);
  return problem === undefined
    ? { name: "feature", outcome: "ok", message: `Credits can be deducted from "${featureId}".` }
    : { name: "feature", outcome: "failed", message: problem };
}

async function correctNothing(): Promise<never> {
  throw new Error("an examination corrects nothing");
}

/** Without the list a delivery can be compared with the customer's usage only, and a double charge is found later, without its batch. */
async function checkEventList(client: AutumnClient, { orgIds, featureId }: AutumnExamination): Promise<SinkCheck> {
  const ledger = createAutumnLedger(async () => client, featureId, correctNothing);
  for (const orgId of orgIds) {
    try {
      const listed = await ledger.listDeductions(orgId, new Date());
      if (listed)
        return {
          name: "event_list",
          outcome: "ok",
          message: "Deductions are listed: each delivery can be compared with Autumn's own record.",
        };
      return {
        name: "event_list",
        outcome: "warning",
        message:
          "This Autumn lists no events (its analytics store is not set up): deliveries are compared with each customer's usage only.",
      };
    } catch (error) {
      const { code, message } = classifyAutumnError(error);
      if (code !== "customer_not_found")
        return {
          name: "event_list",
          outcome: "warning",
          message: `The list of events did not come (${code ?? "no code"}): ${message ?? ""}`,
        };
    }
  }
  return {
    name: "event_list",
    outcome: "skipped",
    message: "Autumn knows none of our organizations yet; its list of events is asked for by customer.",
  };
}

async function checkTopUps(client: AutumnClient, { toppedUpOrgIds, featureId }: AutumnExamination): Promise<SinkCheck> {
  if (toppedUpOrgIds.length === 0)
    return { name: "top_up", outcome: "ok", message: "We buy packs for nobody, so nobody's packs are bought twice." };
  const both: string[] = [];
  for (const orgId of toppedUpOrgIds) if (await hasAutoTopUp(client, orgId, featureId)) both.push(orgId);
  if (both.length === 0)
    return {
      name: "top_up",
      outcome: "ok",
      message: `Autumn buys nothing by itself for the ${toppedUpOrgIds.length} organizations that have a top-up policy here.`,
    };
  const message = `Autumn's auto top-up and our top-up policy are both on for ${both.slice(0, 10).join(", ")}: a low balance is topped up twice. Switch one off: \`billing top-up remove ORG\`, or the customer's auto top-up at Autumn.`;
  return { name: "top_up", outcome: "failed", message };
}

async function hasAutoTopUp(client: AutumnClient, orgId: string, featureId: string): Promise<boolean> {
  const customer = await client.customers.get({ customerId: customerIdForOrg(orgId) }).catch(() => undefined);
  return customer?.billingControls?.autoTopups?.some((topUp) => topUp.enabled && topUp.featureId === featureId) ?? false;
}
