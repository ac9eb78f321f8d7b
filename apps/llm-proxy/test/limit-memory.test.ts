import { randomUUID } from "node:crypto";
import { upsertLimit } from "@proliferate/access/limits";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { patience, until } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HeldProvider } from "./held-provider.ts";
import { manage, mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { type RedisMood, RedisStandIn } from "./redis-stand-in.ts";

/**
 * Issue 11: "Redis/Valkey, where set, only remembers what is exhausted until when: killing or flushing it changes no result." Two proxies with a Redis,
 * and two without, on one database; what is asked of the ones is asked of the others, and has to be answered alike whatever the Redis does.
 */

const MESSAGE = { model: "claude-haiku-4-5", max_tokens: 50, messages: [{ role: "user", content: "Say something." }] } as const;

let database: TestDatabase;
let provider: ProviderStandIn;
const redis = new RedisStandIn();
const held = new HeldProvider();
type Pair = readonly [ProxyProcess, ProxyProcess];
let [plain, remembering] = [[], []] as unknown as [Pair, Pair];

const start = (environment: Readonly<Record<string, string>>, providerUrl = provider.url): Promise<ProxyProcess> =>
  startProxyProcess({ connectionString: database.connectionString, providerUrl, environment: { ADMISSION_WAIT_MS: "0", ...environment } });
const startPair = async (environment: Readonly<Record<string, string>>, providerUrl = provider.url): Promise<Pair> => [
  await start(environment, providerUrl),
  await start(environment, providerUrl),
];

beforeAll(async () => {
  database = await createTestDatabase();
  provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
  await redis.start();
  plain = await startPair({});
  remembering = await startPair({ REDIS_URL: redis.url });
}, patience(120_000));
afterAll(async () => {
  await Promise.all([...plain, ...remembering].map((proxy) => proxy.stop()));
  await provider.stop();
  await redis.stop();
  held.stop();
  await database.drop();
});

/** Each test begins with a Redis that is well, and that both proxies have an answer of. */
beforeEach(async () => {
  redis.mood = "well";
  await redis.start();
  await until(async () => {
    for (const proxy of remembering) await ask(proxy, "sk-nobody");
    const connected = await Promise.all(remembering.map((proxy) => metric(proxy, "limits_redis_connected")));
    return connected.every((one) => one === 1);
  });
}, patience(60_000));

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** All of an answer but what differs from one to the next, however they come about; of one that was admitted its status alone. */
async function ask(proxy: ProxyProcess, key: string, path = "/v1/messages"): Promise<Answer | 200> {
  const response = await fetch(`${proxy.url}${path}`, {
    method: "POST",
    headers: { "x-api-key": key, "content-type": "application/json" },
    body: JSON.stringify(MESSAGE),
  });
  const text = await response.text();
  if (response.status === 200) return 200;
  const id = response.headers.get("request-id") ?? "";
  const headers = Object.fromEntries([...response.headers].filter(([name, value]) => value !== id && name !== "date"));
  return { status: response.status, headers, body: JSON.parse(text.replaceAll(id, "ID")) as unknown };
}

/** Until nothing of the key is under way: an answer waits for its settlement, but not for ever. */
async function settled(token: string): Promise<void> {
  await until(async () => {
    const running = await database.db.selectFrom("request_attempts").select("attempt_id").where("key_hash", "=", token).execute();
    return running.length === 0;
  });
}

const rowsOf = async (token: string): Promise<number> =>
  (await database.db.selectFrom("LiteLLM_SpendLogs").select("request_id").where("api_key", "=", token).execute()).length;

async function metric(proxy: ProxyProcess, name: string): Promise<number> {
  const page = await (await fetch(`${proxy.adminUrl}/metrics`)).text();
  const line = page.split("\n").find((one) => one.startsWith(`llm_gateway_proxy_${name} `));
  return Number(line?.split(" ")[1]);
}

/** How often the proxies have refused from memory. */
async function refusedFromMemory([one, two]: Pair, source: "own" | "shared"): Promise<number> {
  const name = `remembered_refusals_total{source="${source}"}`;
  return (await metric(one, name)) + (await metric(two, name));
}

interface Played {
  readonly steps: readonly (Answer | 200)[];
  readonly admitted: number;
}

/** What limits a key, and how the limit is raised behind the back of every proxy. */
interface Kind {
  readonly mint: Readonly<Record<string, unknown>>;
  readonly limit: (userId: string, token: string, step: "first" | "raised") => Promise<unknown>;
}

const requestsOf = (kind: "key" | "user", id: string, step: "first" | "raised"): Promise<boolean> =>
  upsertLimit(database.db, {
    principal: { kind, id },
    meter: "requests",
    window: "total",
    model: "",
    amount: step === "first" ? "3" : "5",
    enforce: "refuse",
  });
const KINDS: Readonly<Record<string, Kind>> = {
  "requests of the key": { mint: {}, limit: (_, token, step) => requestsOf("key", token, step) },
  "requests of the user": { mint: { max_budget: 5 }, limit: (userId, _, step) => requestsOf("user", userId, step) },
};

/** Two proxies play a key to its end, something happens, and the limit is raised: each step has one right answer. */
async function play([one, two]: Pair, kind: Kind, halfWay: () => Promise<unknown>): Promise<Played> {
  const userId = `user-${randomUUID()}`;
  const { key, token } = await mintKey(plain[0], { ...kind.mint, user_id: userId });
  await kind.limit(userId, token, "first");
  const steps: (Answer | 200)[] = [];
  for (const proxy of [one, two, one, two, two, one, one, two]) {
    steps.push(await ask(proxy, key));
    await settled(token);
  }
  await halfWay();
  for (const proxy of [two, one, two, one]) steps.push(await ask(proxy, key));
  await kind.limit(userId, token, "raised");
  for (const proxy of [one, two]) {
    steps.push(
      await until(
        () => ask(proxy, key),
        (answer) => answer === 200,
      ),
    );
    await settled(token);
  }
  for (const proxy of [one, two, two, one]) steps.push(await ask(proxy, key));
  return { steps, admitted: await rowsOf(token) };
}

const nothing = async (): Promise<void> => undefined;
const mood = (then: RedisMood) => async (): Promise<void> => void (redis.mood = then);
const HAPPENS: Readonly<Record<string, () => Promise<unknown>>> = {
  "is there": nothing,
  "is flushed": async () => redis.flush(),
  "is killed": () => redis.stop(),
  "is killed, and another one started": async () => void (await redis.stop(), await redis.start()),
  "falls silent": mood("silent"),
  "is slow": mood("slow"),
  "talks nonsense": mood("garbage"),
  "answers without an end": mood("endless"),
  "lies": mood("lying"),
  "cuts each connection": mood("cutting"),
};

describe.each(Object.entries(KINDS))(
  "what is answered is the same with a Redis and without, by a limit of %s,",
  { timeout: patience(120_000) },
  (_, kind) => {
    let without: Played;
    beforeAll(async () => {
      without = await play(plain, kind, nothing);
    }, patience(60_000));

    test("without one each step is what it has to be", () => {
      expect(without.admitted).toBe(5);
      expect(without.steps.map((answer) => (answer === 200 ? 200 : answer.status))).toEqual([
        ...[200, 200, 200, 429, 429, 429, 429, 429],
        ...[429, 429, 429, 429],
        ...[200, 200, 429, 429, 429, 429],
      ]);
    });

    test.each(Object.keys(HAPPENS))("that %s half-way", async (name) => {
      const before = await refusedFromMemory(remembering, "own");

      expect(await play(remembering, kind, HAPPENS[name] ?? nothing)).toEqual(without);
      // And it was memory that answered.
      expect(await refusedFromMemory(remembering, "own")).toBeGreaterThan(before);
    });
  },
);

test("what one proxy found the other hears of, and refuses by it", async () => {
  const { key, token } = await mintKey(plain[0], {});
  await requestsOf("key", token, "first");
  for (let index = 0; index < 3; index += 1) expect(await ask(remembering[0], key)).toBe(200);
  const before = await refusedFromMemory(remembering, "shared");

  await until(async () => {
    for (const proxy of [...remembering, ...remembering]) expect(await ask(proxy, key)).not.toBe(200);
    return (await refusedFromMemory(remembering, "shared")) > before;
  });
  expect(await rowsOf(token)).toBe(3);
});

test("a limit that is raised through one proxy holds there with the next request", async () => {
  const { key } = await mintKey(plain[0], {});
  const set = (amount: number): Promise<unknown> =>
    manage(remembering[0], "/limit/set", { principal_kind: "key", principal_id: key, meter: "requests", window: "total", amount });
  await set(0);

  for (let amount = 1; amount <= 5; amount += 1) {
    expect([await ask(remembering[0], key), await ask(remembering[0], key)]).not.toContain(200);
    await set(amount);
    expect(await ask(remembering[0], key)).toBe(200);
  }
});

test("a key that is revoked is refused as such with its next request, however used up its limit is", async () => {
  const { key, token } = await mintKey(plain[0], {});
  await requestsOf("key", token, "first");
  await until(
    () => ask(remembering[1], key),
    (answer) => answer !== 200,
  );
  await manage(plain[0], "/key/delete", { keys: [key] });

  expect(await ask(remembering[1], key)).toMatchObject({ status: 401 });
});

describe.each<RedisMood>(["well", "silent", "lying"])(
  "a Redis that is %s, and 200 calls at once on a limit of 10 requests",
  { timeout: patience(120_000) },
  (how) => {
    test("exactly 10 are admitted, while it is killed", async () => {
      await held.start();
      held.answer = { type: "message", role: "assistant", content: [], usage: { input_tokens: 12, output_tokens: 5 } };
      const pair = await startPair({ REDIS_URL: redis.url }, held.url);
      const { key, token } = await mintKey(plain[0], {});
      await upsertLimit(database.db, {
        principal: { kind: "key", id: token },
        meter: "requests",
        window: "total",
        model: "",
        amount: "10",
        enforce: "refuse",
      });
      redis.mood = how;
      const answers: (Answer | 200)[] = [];
      const asked = Array.from({ length: 200 }, async (_, index) => {
        if (index === 100) await redis.stop();
        answers.push(await ask(index % 2 === 0 ? pair[0] : pair[1], key));
      });
      await until(() => answers.length + held.held === 200);
      held.letGo();
      await Promise.all(asked);
      await settled(token);

      expect(answers.filter((answer) => answer === 200)).toHaveLength(10);
      const { rows } = await sql<{ used: string; reserved: string }>`
      select trim_scale(used)::text as used, trim_scale(reserved)::text as reserved from limit_counters
       where principal_id = ${token} and meter = 'requests'`.execute(database.db);
      expect(rows).toEqual([{ used: "10", reserved: "0" }]);
      await Promise.all(pair.map((proxy) => proxy.stop()));
      held.stop();
    });
  },
);
