import { NO_COST } from "@proliferate/metering/pricing";
import type { DatabaseClient } from "@proliferate/db";
import { createLogger } from "@proliferate/runtime";
import type { AdmittedAttempt } from "@proliferate/access/requests";
import { NO_REPORT } from "@proliferate/metering/usage";

import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import { afterEach, expect, test, vi } from "vitest";
import { Settler } from "./settle.ts";

afterEach(() => void vi.restoreAllMocks());

const logger = createLogger("test", "silent");
const attempt: AdmittedAttempt = {
  attempt_id: "01a21cc9-16da-73e3-b3a4-7705dd830287",
  instance_id: 1,
  key_hash: "k",
  team_id: null,
  user_id: null,
  key_alias: null,
  dialect: "openai",
  call_type: "acompletion",
  model_group: "m",
  model: "openai/m",
  provider: "openai",
  api_base: "",
  price_id: "p",
  end_user: null,
  client_session_id: null,
  requester_ip_address: null,
  reserved_usd: "1",
  reservations: null,
  estimated_input_tokens: 1,
  max_output_tokens: 1,
  hidden_tokens_per_second: 0,
  requested_model: null,
  request_tags: null,
  started_at: new Date(0),
};
const outcome = {
  report: NO_REPORT,
  cost: NO_COST,
  status: "success",
  estimated: false,
  recovered: false,
  providerResponseId: null,
  firstByteAt: null,
  endedAt: new Date(0),
} as const;

/** A store that is away: no statement gets through. */
function awayStore(): { readonly db: DatabaseClient; readonly tries: () => number } {
  let tries = 0;
  class AwayDriver extends DummyDriver {
    override acquireConnection(): ReturnType<DummyDriver["acquireConnection"]> {
      tries += 1;
      return Promise.reject(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }));
    }
  }
  const dialect = {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new AwayDriver(),
    createIntrospector: (db: Kysely<never>) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  };
  return { db: new Kysely({ dialect }) as unknown as DatabaseClient, tries: () => tries };
}

test("code 21: a settlement that is tried again and again leaves no listener on the signal of the process", async () => {
  const { db, tries } = awayStore();
  let listeners = 0;
  const { addEventListener, removeEventListener } = EventTarget.prototype;
  vi.spyOn(EventTarget.prototype, "addEventListener").mockImplementation(function (
    this: EventTarget,
    ...args: Parameters<EventTarget["addEventListener"]>
  ) {
    if (args[0] === "abort") listeners += 1;
    return addEventListener.apply(this, args);
  });
  vi.spyOn(EventTarget.prototype, "removeEventListener").mockImplementation(function (
    this: EventTarget,
    ...args: Parameters<EventTarget["removeEventListener"]>
  ) {
    if (args[0] === "abort") listeners -= 1;
    return removeEventListener.apply(this, args);
  });
  const settler = new Settler({ db, logger, holdMs: 1 });

  await settler.settle(attempt, outcome);
  await expect.poll(tries).toBeGreaterThanOrEqual(5);

  // The pause that runs now has one.
  expect(listeners).toBeLessThanOrEqual(1);
  await settler.stop();
});

test("a settlement that cannot be made has one more try when the process stops, and then lets it go", async () => {
  const { db, tries } = awayStore();
  const settler = new Settler({ db, logger, holdMs: 1 });
  await settler.settle(attempt, outcome);
  const before = tries();

  await settler.stop();

  expect(tries()).toBeGreaterThan(before);
});
