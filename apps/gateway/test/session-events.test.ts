import { ChannelListener } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { SESSION_EVENT_CHANNEL, SessionEventSignal } from "../src/session-event-signal.ts";
import { serveGateway, TOKEN } from "./test-gateway.ts";

let database: TestDatabase;
let proxy: LiteLLMStandIn;
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
});
afterAll(async () => {
  await proxy.stop();
  await database.drop();
});

/** Longer than any test: a reader that nothing wakes sees nothing. */
const NEVER_MS = 3_600_000;

async function serve(signal: SessionEventSignal): Promise<string> {
  const llmProxy = { adminUrl: proxy.url, baseUrl: "https://llm.example.com/v1", masterKey: proxy.masterKey };
  const gateway = await serveGateway(database.db, llmProxy, undefined, undefined, undefined, signal);
  onTestFinished(() => gateway.stop());
  return gateway.url;
}

/** Listens as a gateway does, until the test is over. Resolves when everything is heard. */
async function listen(signal: SessionEventSignal): Promise<void> {
  const hearing = Promise.withResolvers<void>();
  const listener = new ChannelListener({
    connectionString: database.connectionString,
    channel: SESSION_EVENT_CHANNEL,
    onNotice: (sessionId) => signal.told(sessionId),
    onHearing: () => {
      signal.hears(true);
      hearing.resolve();
    },
    onDeaf: () => signal.hears(false),
  });
  onTestFinished(() => listener.stop());
  await hearing.promise;
}

async function openSession(sessionId: string): Promise<void> {
  const row = { session_id: sessionId, org_id: "org", state: "active" as const, model: "m", key_hash: sessionId };
  await database.db.insertInto("gateway_sessions").values(row).execute();
}
const tell = async (sessionId: string, type: string): Promise<void> =>
  void (await database.db.insertInto("session_events").values({ session_id: sessionId, type, facts: "{}" }).execute());

/** The types of the events that a reader was sent so far. */
async function read(url: string, sessionId: string): Promise<() => readonly string[]> {
  const gone = new AbortController();
  onTestFinished(() => gone.abort());
  const answer = await fetch(`${url}/v1/sessions/${sessionId}/events`, {
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: gone.signal,
  });
  let text = "";
  const pump = async (): Promise<void> => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString("utf8");
  };
  pump().catch(() => undefined);
  return () => [...text.matchAll(/^event: (.*)$/gm)].map(([, type = ""]) => type);
}

test("code 18: readers are woken by the notice of each event, and need no look of their own", async () => {
  const signal = new SessionEventSignal({ heardMs: NEVER_MS, unheardMs: NEVER_MS });
  await listen(signal);
  const url = await serve(signal);
  await openSession("woken");
  await tell("woken", "claimed");
  const readers = await Promise.all([1, 2, 3].map(() => read(url, "woken")));

  for (const type of ["key_minted", "sandbox_created", "ready"]) {
    await tell("woken", type);
    for (const events of readers) await until(() => events().includes(type));
  }

  for (const events of readers) expect(events()).toEqual(["claimed", "key_minted", "sandbox_created", "ready"]);
});

test("code 18: what happened while no notice could be heard is seen as soon as they are heard again, and until then by looking", async () => {
  const signal = new SessionEventSignal({ heardMs: NEVER_MS, unheardMs: 50 });
  const url = await serve(signal);
  await openSession("deaf");
  const events = await read(url, "deaf");

  await tell("deaf", "claimed");
  await until(() => events().includes("claimed"));

  const deaf = new SessionEventSignal({ heardMs: NEVER_MS, unheardMs: NEVER_MS });
  const other = await read(await serve(deaf), "deaf");
  await until(() => other().includes("claimed"));
  await tell("deaf", "ready");
  await listen(deaf);
  await until(() => other().includes("ready"));
  expect(other()).toEqual(["claimed", "ready"]);
});

test("code 18: an idle reader asks the database nothing, whatever happens to other sessions, and leaves nothing behind", async () => {
  const signal = new SessionEventSignal({ heardMs: NEVER_MS, unheardMs: NEVER_MS });
  await listen(signal);
  const url = await serve(signal);
  await openSession("busy");
  const idle = Array.from({ length: 20 }, (_, index) => `idle-${index}`);
  for (const id of idle) {
    await openSession(id);
    await tell(id, "claimed");
  }
  const idleReaders = await Promise.all(idle.map((id) => read(url, id)));
  for (const events of idleReaders) await until(() => events().includes("claimed"));
  const busy = await read(url, "busy");
  // Whoever looks now would see it: nobody but readers of this session was told.
  await database.db
    .updateTable("gateway_sessions")
    .set({ state: "ended", ended_at: new Date() })
    .where("session_id", "like", "idle-%")
    .execute();

  for (let round = 0; round < 20; round += 1) {
    await tell("busy", `round-${round}`);
    await until(() => busy().includes(`round-${round}`));
  }

  // Each of them would have ended its stream, and closed its watch.
  expect(signal.size).toBe(21);
  await tell("busy", "ended");
  for (const id of idle) await tell(id, "ended");
  await database.db
    .updateTable("gateway_sessions")
    .set({ state: "ended", ended_at: new Date() })
    .where("session_id", "=", "busy")
    .execute();
  await tell("busy", "last");
  expect(
    await until(
      () => signal.size,
      (size) => size === 0,
    ),
  ).toBe(0);
  for (const events of idleReaders) expect(events()).toEqual(["claimed", "ended"]);
});
