import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, it } from "vitest";
import { fetchKeyTeam } from "../import/litellm-spend-api.ts";
import { createStripeSink } from "../sinks/stripe.ts";
import { fetchStatus, fetchWhole } from "./fetch-whole.ts";

/** What the other end does, by the path that it is asked for. */
const ANSWERS: Readonly<Record<string, (response: ServerResponse) => void>> = {
  silent: () => undefined,
  drip: (response) => {
    const dripping = setInterval(() => response.write("x"), 20);
    response.on("close", () => clearInterval(dripping));
  },
  cut: (response) => void response.writeHead(200, { "content-length": "100" }).write("x", () => response.destroy()),
  endless: (response) => {
    const flood = (): void => {
      while (!response.destroyed && response.write("x".repeat(65_536)));
      if (!response.destroyed) response.once("drain", flood);
    };
    flood();
  },
  elsewhere: (response) => void response.writeHead(302, { location: "/well" }).end(),
  well: (response) => void response.end("well"),
};

let how = "well";
const server = createServer((request, response) => {
  response.on("error", () => undefined);
  ANSWERS[request.url === "/well" ? "well" : how]?.(response);
});
let url = "";
beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const nameOf = (work: Promise<unknown>): Promise<unknown> => work.catch((error: Error) => error.name);
const limits = { timeoutMs: 1_500, maxBytes: 1_000_000 };

it.each([
  ["silent", "TimeoutError"],
  ["drip", "TimeoutError"],
  ["cut", "TypeError"],
  ["endless", "AnswerTooLargeError"],
])("autumn B1: an answer that is %s ends with %s, within the limits of the call", async (kind, name) => {
  how = kind;

  expect(await nameOf(fetchWhole(url, { headers: {}, body: "" }, limits))).toBe(name);
});

it("a redirect is told and not followed", async () => {
  how = "elsewhere";

  expect(await fetchWhole(url, { method: "GET", headers: { authorization: "Bearer key" } }, limits)).toMatchObject({
    status: 302,
    text: "",
  });
});

it("where only the status counts the body is not waited for", async () => {
  how = "drip";

  expect(await fetchStatus(url, { headers: {}, body: "{}" }, { timeoutMs: patience(10_000) })).toBe(200);
});

const delivery = { batchId: "b", orgId: "org_a", credits: "1", idempotencyKey: "pb:b", attempt: 1, isFirst: true, eventCount: 1 };

it.each([
  ["silent", "timeout"],
  ["drip", "timeout"],
  ["endless", "answer_too_large"],
])("autumn B1: Stripe and LiteLLM's REST answers that are %s end the call, too", async (kind, code) => {
  how = kind;
  const stripe = createStripeSink({
    secretKey: "sk_test_1",
    serverUrl: url,
    eventName: "credits",
    findCustomerId: async () => "cus_a",
    timeoutMs: kind === "endless" ? patience(60_000) : 500,
  });

  expect(await stripe.deliver(delivery as unknown as Parameters<typeof stripe.deliver>[0])).toMatchObject({ kind: "unknown", code });
  await expect(
    fetchKeyTeam({ adminUrl: url, masterKey: "sk-master", timeoutMs: kind === "endless" ? patience(60_000) : 500 }, "hash"),
  ).rejects.toMatchObject({ code: "llm_proxy_failed" });
});
