import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { AppError, createLLMProxyClient, type LLMProxyClient } from "@proliferate/shared";
import { startLiteLLMStandIn, type LiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

let proxy: LiteLLMStandIn;
let client: LLMProxyClient;

beforeAll(async () => {
  proxy = await startLiteLLMStandIn();
});
beforeEach(() => {
  client = createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey });
});
afterEach(() => proxy.reset());
afterAll(() => proxy.stop());

const paths = (): readonly string[] => proxy.requests.map((request) => request.path);
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

async function failureOf(call: Promise<unknown>): Promise<AppError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${String(error)}`);
  return error;
}

describe("a first key", () => {
  it("is minted for team, user, alias, life, budget and models of the session", async () => {
    const key = await client.generateSessionAPIKey("session-1", "org-1", {
      duration: "15m",
      maxBudget: "2.50",
      models: ["anthropic/claude-sonnet-4-5"],
      metadata: { plan: "pro", org_id: "another" },
    });

    const row = proxy.keys.get(sha256(key));
    expect(row).toMatchObject({
      team_id: "org-1",
      user_id: "session-1",
      key_alias: "session-1",
      max_budget: 2.5,
      models: ["anthropic/claude-sonnet-4-5"],
    });
    expect(row?.["metadata"]).toEqual({ plan: "pro", session_id: "session-1", org_id: "org-1" });
    expect(Date.parse(row?.expires ?? "") - Date.now()).toBeGreaterThan(14 * 60_000);
    expect([...proxy.teams]).toEqual(["org-1"]);
  });

  it("takes two requests for an org that is new to this process and one for an org that it has seen", async () => {
    await client.generateSessionAPIKey("session-1", "org-1");
    expect(paths()).toEqual(["/team/new", "/key/generate"]);

    await client.generateSessionAPIKey("session-2", "org-1");
    expect(paths()).toEqual(["/team/new", "/key/generate", "/key/generate"]);
  });

  it("lives for the client's duration, which is 24h when nobody says otherwise", async () => {
    await client.generateVirtualKey("session-1", "org-1");
    await createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey, keyDuration: "7d" }).generateVirtualKey(
      "session-2",
      "org-1",
    );

    expect(proxy.requests.map((request) => request.body["duration"])).toEqual(["24h", "7d"]);
  });

  it("is returned with its expiry in UTC, its owner, its hash and its alias", async () => {
    const minted = await client.generateVirtualKey("session-1", "org-1", { duration: "1h" });

    expect(minted).toMatchObject({ team_id: "org-1", user_id: "session-1", key_alias: "session-1", token_hash: sha256(minted.key) });
    expect(minted.key).toMatch(/^sk-[\w-]{43}$/);
    expect(minted.expires).toBe(proxy.keys.get(minted.token_hash)?.expires);
  });

  it("is minted when another process makes the same team at the same moment", async () => {
    const others = Array.from({ length: 8 }, () => createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey }));

    const keys = await Promise.all(others.map((other, index) => other.generateSessionAPIKey(`session-${index}`, "org-1")));

    expect(keys.filter((key) => proxy.accepts(key))).toHaveLength(8);
  });

  it("is minted when the race for the team shows as the database's unique violation", async () => {
    proxy.failNext("/team/new", {
      kind: "answer",
      status: 500,
      body: {
        error: {
          message: "Unique constraint failed on the fields: (`team_id`)",
          type: "internal_server_error",
          param: "None",
          code: "500",
        },
      },
      applied: true,
    });

    expect(proxy.accepts(await client.generateSessionAPIKey("session-1", "org-1"))).toBe(true);
    expect(paths()).toEqual(["/team/new", "/team/new", "/key/generate"]);
  });

  it("makes the team again when it was deleted since and the proxy says so", async () => {
    const strict = await startLiteLLMStandIn({ checksTeamAtMint: true });
    const strictClient = createLLMProxyClient({ adminUrl: strict.url, masterKey: strict.masterKey });
    await strictClient.generateSessionAPIKey("session-1", "org-1");
    strict.reset();

    const key = await strictClient.generateSessionAPIKey("session-2", "org-1");

    expect(strict.accepts(key)).toBe(true);
    expect(strict.requests.map((request) => request.path)).toEqual(["/key/generate", "/team/new", "/key/generate"]);
    await strict.stop();
  });

  it("is minted for any session id, each under an alias of its own that LiteLLM allows", async () => {
    const id = fc.string({ minLength: 1, maxLength: 255, unit: "binary" }).filter((text) => !/\p{Cc}/u.test(text) && text.length <= 255);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(id, { minLength: 1, maxLength: 4 }), async (ids) => {
        proxy.reset();
        const keys = await Promise.all(ids.map((sessionId) => client.generateVirtualKey(sessionId, "org-1")));
        expect(new Set(keys.map((key) => key.key_alias)).size).toBe(ids.length);
        expect(keys.map((key) => proxy.keys.get(key.token_hash)?.user_id)).toEqual(ids);
      }),
      { numRuns: 50 },
    );
  });
});

describe("a resumed session", () => {
  it("gets a new key before the old one is revoked", async () => {
    const old = await client.generateSessionAPIKey("session-1", "org-1");
    const resumed = await client.generateSessionAPIKey("session-1", "org-1");

    expect([proxy.accepts(old), proxy.accepts(resumed)]).toEqual([false, true]);
    expect(paths().slice(2)).toEqual(["/key/generate", "/key/generate", "/key/list", "/key/delete", "/key/update"]);
    expect(proxy.keys.get(sha256(resumed))?.key_alias).toBe("session-1");
  });

  it("keeps its old key when the new one cannot be minted", async () => {
    const old = await client.generateSessionAPIKey("session-1", "org-1");
    proxy.failNext(
      "/key/generate",
      {
        kind: "answer",
        status: 400,
        body: {
          error: { message: "Key with alias 'session-1' already exists.", type: "bad_request_error", param: "key_alias", code: "400" },
        },
      },
      {
        kind: "answer",
        status: 400,
        body: { error: { message: "max_budget too high", type: "bad_request_error", param: "max_budget", code: "400" } },
      },
    );

    expect((await failureOf(client.generateSessionAPIKey("session-1", "org-1"))).code).toBe("proxy_rejected");
    expect(proxy.accepts(old)).toBe(true);
  });

  it("can be resumed any number of times, by any process, and only its last key works", async () => {
    const keys: string[] = [];
    for (let resume = 0; resume < 4; resume += 1) {
      const another = createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey });
      keys.push(await another.generateSessionAPIKey("session-1", "org-1"));
      expect(keys.filter((key) => proxy.accepts(key))).toEqual([keys.at(-1)]);
    }
  });

  it("gets its new key also where the proxy made it in the millisecond of the old one", async () => {
    let minted = 0;
    // Six keys say the same instant.
    const coarse = await startLiteLLMStandIn({ mintedAt: () => new Date(1_800_000_000_000 + Math.floor(minted++ / 6)) });
    const coarseClient = createLLMProxyClient({ adminUrl: coarse.url, masterKey: coarse.masterKey });

    for (let index = 0; index < 30; index += 1) {
      const sessionId = `session-${index}`;
      const old = await coarseClient.generateSessionAPIKey(sessionId, "org-1");
      const resumed = await coarseClient.generateSessionAPIKey(sessionId, "org-1");

      expect([coarse.accepts(old), coarse.accepts(resumed)]).toEqual([false, true]);
    }
    await coarse.stop();
  });

  it("is resumed when a crash left a key that nobody was given", async () => {
    const old = await client.generateSessionAPIKey("session-1", "org-1");
    proxy.failNext("/key/list", { kind: "answer", status: 400, body: { error: { message: "no", type: "x", param: "None", code: "400" } } });
    await failureOf(client.generateSessionAPIKey("session-1", "org-1"));
    expect(proxy.keys.size).toBe(2);

    const resumed = await client.generateSessionAPIKey("session-1", "org-1");

    expect([...proxy.keys.keys()]).toEqual([sha256(resumed)]);
    expect(proxy.accepts(old)).toBe(false);
  });

  it("is left with exactly one key that works when several calls resume it at once", async () => {
    await client.generateSessionAPIKey("session-1", "org-1");

    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => client.generateSessionAPIKey("session-1", "org-1")));

    const minted = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value : []));
    const refusals = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? (outcome.reason as AppError).code : []));
    expect(minted.filter((key) => proxy.accepts(key))).toHaveLength(1);
    expect(proxy.keys.size).toBe(1);
    expect(refusals.filter((code) => code !== "proxy_rejected")).toEqual([]);
  });

  it("does not touch a session whose id contains its own, also where the proxy matches a part of the user id", async () => {
    const sloppy = await startLiteLLMStandIn({ userFilter: "partial" });
    const sloppyClient = createLLMProxyClient({ adminUrl: sloppy.url, masterKey: sloppy.masterKey });
    const other = await sloppyClient.generateSessionAPIKey("session-12", "org-1");
    await sloppyClient.generateSessionAPIKey("session-1", "org-1");

    await sloppyClient.generateSessionAPIKey("session-1", "org-1");
    await sloppyClient.revokeVirtualKey("session-1");

    expect(sloppy.accepts(other)).toBe(true);
    expect(sloppy.keys.size).toBe(1);
    await sloppy.stop();
  });
});

describe("revoking", () => {
  it("revokes every key of the session, over all pages", async () => {
    for (let index = 0; index < 105; index += 1) await client.mintKey("session-1", "org-1");
    const other = await client.generateSessionAPIKey("session-2", "org-1");

    await client.revokeVirtualKey("session-1");

    expect([...proxy.keys.keys()]).toEqual([sha256(other)]);
  });

  it("is a success when there is nothing to revoke, and when another call was faster with a part", async () => {
    await client.revokeVirtualKey("session-1");
    const [first, second] = [await client.mintKey("session-1", "org-1"), await client.mintKey("session-1", "org-1")];
    await client.revokeKeys([first.token_hash]);

    await client.revokeKeys([first.token_hash, second.token_hash]);
    await client.revokeKeys([second.token_hash]);

    expect(proxy.keys.size).toBe(0);
  });

  it("lists the hashes of the keys that it would revoke", async () => {
    const keys = [await client.mintKey("session-1", "org-1"), await client.mintKey("session-1", "org-1")];

    expect([...(await client.listSessionKeys("session-1"))].sort()).toEqual(keys.map((key) => key.token_hash).sort());
  });

  it("does not take the 404 of some other server for success", async () => {
    await client.generateSessionAPIKey("session-1", "org-1");
    for (const body of ["<html>not found</html>", { detail: "Not Found" }]) {
      proxy.failNext("/key/delete", { kind: "answer", status: 404, body });
      expect((await failureOf(client.revokeVirtualKey("session-1"))).code).toBe("proxy_bad_response");
    }
  });

  it("does not take the 404 of the data plane for success", async () => {
    proxy.failNext("/key/delete", {
      kind: "answer",
      status: 404,
      body: { error: { message: "Management routes are on another port.", type: "invalid_request_error", param: null, code: "not_found" } },
    });

    const error = await failureOf(client.revokeKeys([sha256("sk-some-key")]));

    expect(error.code).toBe("proxy_bad_response");
    expect(error.message).toContain("Management routes are on another port.");
  });

  it("believes the code 404 in the body of another status", async () => {
    await client.generateSessionAPIKey("session-1", "org-1");
    proxy.failNext("/key/delete", {
      kind: "answer",
      status: 500,
      body: { error: { message: "{'error': 'No keys found'}", type: "auth_error", param: "None", code: "404" } },
      applied: true,
    });

    await client.revokeVirtualKey("session-1");
    expect(paths().filter((path) => path === "/key/delete")).toHaveLength(1);
  });
});

describe("a proxy in trouble", () => {
  it("gets each request again after a network error or a 5xx, and a lost answer never makes a second key", async () => {
    const faults = [
      { kind: "reset" },
      { kind: "reset", applied: true },
      { kind: "answer", status: 502, body: "<html>" },
      { kind: "answer", status: 503, body: {}, applied: true },
    ] as const;
    for (const fault of faults) {
      proxy.reset();
      proxy.failNext("/key/generate", fault);
      const key = await client.generateVirtualKey("session-1", "org-1");
      expect([...proxy.keys.keys()]).toEqual([key.token_hash]);
      expect(proxy.accepts(key.key)).toBe(true);
      expect(key.key_alias).toBe("session-1");
      const sent = proxy.requests.filter((request) => request.path === "/key/generate").map((request) => request.body["key"]);
      expect(sent).toEqual([key.key, key.key]);
    }
  });

  it("mints a key beside the others although the answer to the first try was lost", async () => {
    proxy.failNext("/key/generate", { kind: "reset", applied: true });

    const minted = await client.mintKey("session-1", "org-1");

    expect([...proxy.keys.keys()]).toEqual([minted.token_hash]);
    expect(minted.expires).toBe(proxy.keys.get(minted.token_hash)?.expires);
  });

  it("leaves one key that works whatever single fault meets whichever request of a resume", async () => {
    const requestPaths = ["/key/generate", "/key/list", "/key/delete", "/key/update"];
    for (const path of requestPaths) {
      for (const fault of [{ kind: "reset" }, { kind: "reset", applied: true }] as const) {
        proxy.reset();
        await client.generateVirtualKey("session-1", "org-1");
        proxy.failNext(path, fault);
        const resumed = await client.generateVirtualKey("session-1", "org-1");
        expect([...proxy.keys.keys()], `${path} ${JSON.stringify(fault)}`).toEqual([resumed.token_hash]);
        expect(resumed.key_alias).toBe("session-1");
      }
    }
  });

  it("is given up on after three tries, with what it said", async () => {
    const down = {
      kind: "answer",
      status: 503,
      body: { error: { message: "no_db_connection", type: "no_db_connection", param: "None", code: "503" } },
    } as const;
    proxy.failNext("/team/new", down, down, down);

    const error = await failureOf(client.ensureTeamExists("org-1"));

    expect(error).toMatchObject({ code: "proxy_unreachable", retryable: true });
    expect(error.message).toContain("no_db_connection");
    expect(paths()).toHaveLength(3);
  });

  it("is named as unreachable when nothing listens", async () => {
    const port = await freePort();
    const error = await failureOf(
      createLLMProxyClient({ adminUrl: `http://127.0.0.1:${port}`, masterKey: "sk-master-key" }).ensureTeamExists("org-1"),
    );

    expect(error.code).toBe("proxy_unreachable");
    expect(error.message).toContain("ECONNREFUSED");
  });

  it("is not waited for longer than the time-out, whether it is silent, endless or asks for patience", async () => {
    const hasty = createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey, timeoutMs: 250 });

    for (const fault of [{ kind: "hang" }, { kind: "answer", status: 429, body: {}, headers: { "retry-after": "3600" } }] as const) {
      proxy.reset();
      // As often as it may be asked in that time.
      proxy.failNext("/team/new", fault, fault, fault);
      const error = await failureOf(hasty.ensureTeamExists("org-1"));
      expect(error.code).toBe("proxy_timeout");
      expect(error.message).toBe("The LLM proxy did not answer POST /team/new within 250 ms.");
    }
  });

  it("cannot fill the memory with an endless answer", async () => {
    proxy.failNext("/team/new", { kind: "endless" });
    expect((await failureOf(client.ensureTeamExists("org-1"))).code).toBe("proxy_bad_response");
  });

  it("is left at once when the caller gives up, with the caller's own reason", async () => {
    const reason = new Error("the user closed the session");
    const caller = new AbortController();
    proxy.failNext("/key/generate", { kind: "hang" });
    const call = client.generateVirtualKey("session-1", "org-1", { signal: caller.signal });
    await expect.poll(() => paths().length).toBe(1);
    caller.abort(reason);

    await expect(call).rejects.toBe(reason);
    await expect(client.generateVirtualKey("session-1", "org-1", { signal: caller.signal })).rejects.toBe(reason);
    expect(paths()).toHaveLength(1);
  });

  it.each([
    ["text that is not JSON", 200, "<html>hello</html>"],
    ["JSON without a key", 200, { token: "abc" }],
    ["a key that never expires", 200, { key: "sk-without-expiry", expires: null }],
    ["a redirect", 307, ""],
    ["a page of some other server", 404, "<html>"],
  ])("is told apart from some other server that answers with %s", async (_name, status, body) => {
    proxy.failNext("/key/generate", { kind: "answer", status, body, headers: { location: "http://127.0.0.1:1/" } });
    expect((await failureOf(client.generateVirtualKey("session-1", "org-1"))).code).toBe("proxy_bad_response");
  });

  it("tells what is wrong with an argument, in validation errors too", async () => {
    proxy.failNext("/key/generate", {
      kind: "answer",
      status: 422,
      body: {
        detail: [{ type: "float_parsing", loc: ["body", "max_budget"], msg: "Input should be a valid number", input: "secret-input" }],
      },
    });

    const error = await failureOf(client.generateVirtualKey("session-1", "org-1"));

    expect(error.code).toBe("proxy_rejected");
    expect(error.message).toBe("The LLM proxy refused to mint a key (422): body.max_budget: Input should be a valid number");
  });

  it("reports its readiness", async () => {
    await client.checkReadiness();
    const unwell = { kind: "answer", status: 503, body: { status: "unhealthy" } } as const;
    proxy.failNext("/health/readiness", unwell, unwell, unwell);

    expect((await failureOf(client.checkReadiness())).code).toBe("proxy_unreachable");
  });
});

describe("no message", () => {
  it("contains a key, even when the server repeats every one that it knows", async () => {
    const wrong = 'sk-wrong"master\\key';
    const stranger = createLLMProxyClient({ adminUrl: proxy.url, masterKey: wrong });
    const error = await failureOf(stranger.ensureTeamExists("org-1"));
    expect(error.code).toBe("proxy_unauthorized");
    expect(`${error.message} ${String(error.cause)} ${JSON.stringify(error.details)}`).not.toMatch(/wrong|[0-9a-f]{64}/);

    const echo = {
      kind: "answer",
      status: 400,
      body: {
        error: {
          message: `bad: ${proxy.masterKey} Bearer abc.def sk-ant-api03-x-y ${JSON.stringify(wrong)} ${"k".repeat(1_000)}`,
          code: "400",
        },
      },
    } as const;
    proxy.failNext("/key/generate", echo);
    const echoed = await failureOf(client.generateVirtualKey("session-1", "org-1"));
    const sent = String(proxy.requests.at(-1)?.body["key"]);
    for (const secret of [proxy.masterKey, sent, "abc.def", "api03"]) expect(echoed.message).not.toContain(secret);
    expect(echoed.message.length).toBeLessThan(400);
  });
});

describe("an argument that makes no sense", () => {
  it.each([
    ["duration", { duration: "30min" }],
    ["duration", { duration: "-1" }],
    ["duration", { duration: "0h" }],
    ["maxBudget", { maxBudget: -1 }],
    ["maxBudget", { maxBudget: Number.NaN }],
    ["maxBudget", { maxBudget: "0.12345678901234567890" }],
    ["models", { models: [] }],
  ])("is refused by name before anything is sent: %s %j", async (param, options) => {
    expect(await failureOf(client.generateSessionAPIKey("session-1", "org-1", options))).toMatchObject({ code: "invalid_request", param });
    expect(paths()).toEqual([]);
  });

  it.each(["", "a".repeat(256), "line\nbreak", "\ud800"])("is refused as an id: %j", async (id) => {
    expect(await failureOf(client.generateSessionAPIKey(id, "org-1"))).toMatchObject({ code: "invalid_request", param: "sessionId" });
    expect(await failureOf(client.generateSessionAPIKey("session-1", id))).toMatchObject({ code: "invalid_request", param: "orgId" });
    expect(paths()).toEqual([]);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === "object" && address !== null ? address.port : 0;
}
