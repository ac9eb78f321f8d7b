import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { changeOrgSettings } from "@proliferate/services/billing-gate";
import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { until } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TOKEN } from "./test-gateway.ts";

/** Two gateways before one database, asked for many sessions of one org at once: none of its limits gives way. */

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

interface Gateway {
  readonly child: ChildProcess;
  readonly url: string;
}

interface Answer {
  /** 0: the gateway died before it answered. */
  readonly status: number;
  readonly code: string | undefined;
}

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let gateways: Gateway[];
beforeEach(async () => {
  [database, proxy] = await Promise.all([createTestDatabase(), startLiteLLMStandIn()]);
  gateways = await Promise.all([startGateway(), startGateway()]);
});
afterEach(async () => {
  for (const { child } of gateways) if (child.exitCode === null && child.signalCode === null) await end(child, "SIGKILL");
  await proxy.stop();
  await database.drop();
});

async function startGateway(): Promise<Gateway> {
  const env = {
    DATABASE_URL: database.connectionString,
    GATEWAY_PORT: "0",
    GATEWAY_API_TOKEN: TOKEN,
    LLM_PROXY_URL: proxy.url,
    LLM_PROXY_MASTER_KEY: proxy.masterKey,
    BILLING_GATE: "enforce",
  };
  const child = fork(new URL("../src/main.ts", import.meta.url), [], { stdio: ["ignore", "ignore", "ignore", "ipc"], env });
  const [message] = (await once(child, "message")) as [{ ports: { gateway: number } }];
  return { child, url: `http://127.0.0.1:${message.ports.gateway}` };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

/** As the worker's reading of Autumn leaves it: 300 credits are worth one USD at the provider. */
async function grant(credits: string, settings: { readonly maxSessions?: number } = {}): Promise<void> {
  await database.db.insertInto("billing_accounts").values({ org_id: "org_a", balance_credits: credits }).execute();
  await database.db
    .insertInto("org_gates")
    .values({ org_id: "org_a", state: "active", credits_per_spend_usd: "300", reconciled_at: new Date() })
    .execute();
  await changeOrgSettings(database.db, "org_a", settings);
}

async function create(gateway: Gateway | undefined, sessionId: string): Promise<Answer> {
  try {
    const answer = await fetch(`${gateway?.url}/v1/sessions`, {
      method: "POST",
      headers: { "authorization": `Bearer ${TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify({ session_id: sessionId, org_id: "org_a" }),
    });
    return { status: answer.status, code: ((await answer.json()) as { error?: { code: string } }).error?.code };
  } catch {
    return { status: 0, code: undefined };
  }
}

const createMany = (count: number, prefix = "session"): Promise<readonly Answer[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => create(gateways[index % gateways.length], `${prefix}_${index}`)));
const liveKeys = () => [...proxy.keys.values()].filter((key) => key.blocked !== true);
const budgets = (): string => addDecimals(...liveKeys().map((key) => String(key["max_budget"])));

test("sixty at once against a limit of seven sessions: seven start, the others are told why, and seven keys exist", async () => {
  await grant("100000", { maxSessions: 7 });

  const answers = await createMany(60);

  expect(answers.filter(({ status }) => status === 201)).toHaveLength(7);
  expect(answers.filter(({ code }) => code === "concurrent_session_limit")).toHaveLength(53);
  expect(liveKeys()).toHaveLength(7);
});

test("sixty at once against a balance of one dollar: the budgets of all keys together are no more than that", async () => {
  await grant("300");

  const answers = await createMany(60);

  expect(answers.filter(({ status }) => status === 201).length).toBe(liveKeys().length);
  expect(answers.filter(({ code }) => code === "no_credits").length).toBe(60 - liveKeys().length);
  expect(liveKeys().length).toBeGreaterThan(5);
  expect(compareDecimals(budgets(), "1")).toBeLessThanOrEqual(0);
});

test("one of the two is killed in the midst of it: what it began counts until it is known, and the limits hold", async () => {
  await grant("300", { maxSessions: 9 });
  const [doomed] = gateways;
  const first = createMany(30);
  await until(() => proxy.requests.some(({ path }) => path === "/key/generate"), Boolean, 1);
  if (doomed) await end(doomed.child, "SIGKILL");
  const answers = await first;
  gateways = [gateways[1] as Gateway, await startGateway()];
  const more = await createMany(30, "later");

  expect(answers.some(({ status }) => status === 0)).toBe(true);
  expect([...answers, ...more].filter(({ status }) => status === 201).length).toBeLessThanOrEqual(9);
  expect(liveKeys().length).toBeLessThanOrEqual(9);
  expect(compareDecimals(budgets(), "1")).toBeLessThanOrEqual(0);
});
