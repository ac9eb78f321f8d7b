import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import type { TransportFault } from "@proliferate/testing/autumn-emulator/faults";
import { patience } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openAutumn } from "./autumn.ts";
import type { AutumnClient } from "./autumn-client.ts";
import { classifyAutumnError } from "./autumn-errors.ts";

/** Every answer that does not end as it should, through both clients, with a deadline at which the library's own does not fire. */
const DEADLINE_MS = 2_000;
let autumn: AutumnEmulator;
beforeEach(async () => {
  autumn = await startAutumnEmulator();
  autumn.grant("org_a", "1000");
});
afterEach(() => autumn.stop());

const SPOILED: readonly (readonly [string, TransportFault, { readonly code: string; readonly isSlow: boolean }])[] = [
  ["silent", { kind: "silent" }, { code: "timeout", isSlow: true }],
  ["slow", { kind: "slow", afterMs: 60_000 }, { code: "timeout", isSlow: true }],
  ["stalled in its body", { kind: "stall_body" }, { code: "timeout", isSlow: true }],
  ["dripping", { kind: "drip", everyMs: 50 }, { code: "timeout", isSlow: true }],
  ["cut off in its body", { kind: "cut_body" }, { code: "und_err_socket", isSlow: false }],
  ["without an end", { kind: "endless" }, { code: "answer_too_large", isSlow: false }],
  ["a broken connection", { kind: "reset" }, { code: "econnreset", isSlow: false }],
  ["a page", { kind: "page", status: 502 }, { code: "http_502", isSlow: false }],
];

const CALLS: Readonly<Record<string, (client: AutumnClient) => Promise<unknown>>> = {
  "track": (client) =>
    client.track(
      { customerId: "org_a", featureId: "credits", value: 1, overageBehavior: "overflow", properties: {} },
      { headers: { "Idempotency-Key": "k" } },
    ),
  "customers.get": (client) => client.customers.get({ customerId: "org_a" }),
  "events.list": (client) => client.events.list({ customerId: "org_a", featureId: "credits", startCursor: "", limit: 10 }),
};

/** Longer than whatever runs on after an answer was given up: what fails there, and is heard by nobody, ends the test run. */
const settle = async (): Promise<void> => new Promise((done) => setImmediate(() => setImmediate(done)));

describe.each(["http", "autumn-js"] as const)("autumn B1, B2: through %s an answer that is", (name) => {
  it.each(SPOILED)("%s ends every call in time with its own code, and the process lives", async (_, how, { code, isSlow }) => {
    const client = await openAutumn({
      secretKey: "am_sk_test_1",
      serverUrl: autumn.url,
      apiVersion: "2.3.0",
      featureId: "credits",
      timeoutMs: DEADLINE_MS,
      client: name,
    });
    const unheard: unknown[] = [];
    const hear = (reason: unknown): void => void unheard.push(reason);
    process.on("unhandledRejection", hear);
    autumn.spoil(() => true, how);

    const startedAt = performance.now();
    const outcomes = await Promise.all(
      Object.values(CALLS).map(async (call) =>
        call(client).then(
          () => "answered",
          (error: unknown) => classifyAutumnError(error).code,
        ),
      ),
    );
    const tookMs = performance.now() - startedAt;
    await settle();
    process.off("unhandledRejection", hear);

    expect(outcomes).toEqual([code, code, code]);
    expect(tookMs).toBeLessThan(patience(DEADLINE_MS * 4));
    expect(tookMs > DEADLINE_MS * 0.9 || !isSlow).toBe(true);
    expect(unheard).toEqual([]);
  });
});

it("autumn B1: eight silent calls at once all end at their deadline, whichever signal is collected", async () => {
  const client = await openAutumn({
    secretKey: "am_sk_test_1",
    serverUrl: autumn.url,
    apiVersion: "2.3.0",
    featureId: "credits",
    timeoutMs: DEADLINE_MS,
    client: "autumn-js",
  });
  autumn.spoil(() => true, { kind: "silent" });

  const codes = await Promise.all(
    Array.from({ length: 8 }, async (_, index) =>
      client
        .track(
          { customerId: "org_a", featureId: "credits", value: 1, overageBehavior: "overflow", properties: {} },
          { headers: { "Idempotency-Key": `k${index}` } },
        )
        .then(
          () => "answered",
          (error: unknown) => classifyAutumnError(error).code,
        ),
    ),
  );

  expect(codes).toEqual(Array.from({ length: 8 }, () => "timeout"));
});
