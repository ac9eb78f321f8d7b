import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { connectLLMProxy } from "./llm-proxy.ts";

let management: LiteLLMStandIn;
let dataPlane: Server | undefined;
beforeAll(async () => {
  management = await startLiteLLMStandIn();
});
afterEach(() => {
  dataPlane?.close();
  dataPlane?.closeAllConnections();
});
afterAll(() => management.stop());

const request = { sessionId: "s1", orgId: "org_a", models: [], metadata: {} };

/** Mints before a data plane that answers `GET /v1/models` like this. */
async function mintBefore(answer: RequestListener): Promise<readonly string[] | undefined> {
  dataPlane = createServer(answer).listen(0, "127.0.0.1");
  await once(dataPlane, "listening");
  const url = `http://127.0.0.1:${(dataPlane.address() as AddressInfo).port}/v1`;
  const proxy = connectLLMProxy({ url, adminUrl: management.url, baseUrl: url, masterKey: management.masterKey });
  return (await proxy.keys.mint(request)).models;
}

const listing =
  (...ids: readonly string[]): RequestListener =>
  (_request, response) =>
    void response.end(JSON.stringify({ object: "list", data: ids.map((id) => ({ id, object: "model" })) }));

test("a key comes with the models that the data plane serves to it", async () => {
  const asked: string[] = [];
  const models = await mintBefore((incoming, response) => {
    asked.push(`${incoming.url} ${incoming.headers.authorization}`);
    listing("claude-opus-4-5")(incoming, response);
  });

  expect(models).toEqual(["claude-opus-4-5"]);
  expect(asked).toEqual([expect.stringMatching(/^\/v1\/models Bearer sk-/)]);
  expect(asked[0]).not.toContain(management.masterKey);
});

test.each<readonly [string, RequestListener]>([
  ["lists patterns", listing("anthropic/*", "gpt-4o")],
  ["refuses", (_request, response) => void response.writeHead(500).end("{}")],
  ["answers something else", (_request, response) => void response.end("<html>")],
  ["hangs up", (_request, response) => void response.socket?.destroy()],
])("a data plane that %s leaves the models unknown and the key minted", async (_what, answer) => {
  expect(await mintBefore(answer)).toBeUndefined();
});

test("a list of models goes to the key, and no list is left out, as LiteLLM takes an empty one for all", async () => {
  const proxy = connectLLMProxy({ adminUrl: management.url, baseUrl: "https://llm.example.com/v1", masterKey: management.masterKey });
  management.reset();
  await proxy.keys.mint({ ...request, models: ["gpt-4o"] });
  await proxy.keys.mint(request);

  const bodies = management.requests.filter(({ path }) => path === "/key/generate").map(({ body }) => body);
  expect(bodies[0]?.["models"]).toEqual(["gpt-4o"]);
  expect(bodies[1]).not.toHaveProperty("models");
});
