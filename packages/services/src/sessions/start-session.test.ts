import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { AppError } from "@proliferate/shared/errors";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { endSession } from "./end-session.ts";
import type { SessionKeys } from "./session-keys.ts";
import { startSession } from "./start-session.ts";
import { getSession } from "./view-session.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => database.db.deleteFrom("gateway_sessions").execute());
afterAll(() => database.drop());

type Step = "list" | "mint" | "revoke";

/** A proxy in memory whose steps can be held up: `during` runs once, in the middle of the next such step. */
class HeldUpKeys implements SessionKeys {
  readonly alive = new Set<string>();
  #minted = 0;
  readonly #during = new Map<Step, () => Promise<unknown>>();

  during(step: Step, action: () => Promise<unknown>): void {
    this.#during.set(step, action);
  }

  async #reach(step: Step): Promise<void> {
    const action = this.#during.get(step);
    this.#during.delete(step);
    await action?.();
  }

  async mint(): Promise<{ apiKey: string; keyHash: string; keyAlias: null; expiresAt: null }> {
    this.#minted += 1;
    const keyHash = `hash-${this.#minted}`;
    this.alive.add(keyHash);
    await this.#reach("mint");
    return { apiKey: `key-${keyHash}`, keyHash, keyAlias: null, expiresAt: null };
  }

  async list(): Promise<readonly string[]> {
    const keys = [...this.alive];
    await this.#reach("list");
    return keys;
  }

  async revoke(keyHashes: readonly string[]): Promise<void> {
    await this.#reach("revoke");
    for (const keyHash of keyHashes) this.alive.delete(keyHash);
  }

  async extend(): Promise<void> {}

  async revokeAll(): Promise<void> {
    this.alive.clear();
  }
}

const request = { sessionId: "s1", orgId: "org_a", defaultModel: "claude-sonnet-4-5" };
const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "started",
    (error: unknown) => (error as AppError).code,
  );

for (const step of ["list", "mint", "revoke"] as const) {
  test(`a resume that another overtakes during its ${step} leaves the newer key alone alive`, async () => {
    const keys = new HeldUpKeys();
    const deps = { db: database.db, keys };
    await startSession(deps, request);
    let newer: Awaited<ReturnType<typeof startSession>> | undefined;
    keys.during(step, async () => {
      newer = await startSession(deps, request);
    });

    // During its revoke the older call has handed its key over already: it stands, until the newer one revokes it.
    expect(await outcome(startSession(deps, request))).toBe(step === "revoke" ? "started" : "session_conflict");

    expect([...keys.alive]).toEqual([newer?.session.key_hash]);
    expect((await getSession(database.db, "s1")).key_hash).toBe(newer?.session.key_hash);
  });
}

test("a first start that another overtakes during its mint leaves the newer key alone alive", async () => {
  const keys = new HeldUpKeys();
  const deps = { db: database.db, keys };
  let newer: Awaited<ReturnType<typeof startSession>> | undefined;
  keys.during("mint", async () => {
    newer = await startSession(deps, request);
  });

  expect(await outcome(startSession(deps, request))).toBe("session_conflict");
  expect([...keys.alive]).toEqual([newer?.session.key_hash]);
});

test("a key that is minted while its session ends is revoked by the call that minted it", async () => {
  const keys = new HeldUpKeys();
  const deps = { db: database.db, keys };
  await startSession(deps, request);
  keys.during("list", () => endSession(deps, "s1"));

  expect(await outcome(startSession(deps, request))).toBe("session_conflict");
  expect(keys.alive.size).toBe(0);
});

test("a refused first key removes the session only while nobody else has claimed it", async () => {
  const keys = new HeldUpKeys();
  const deps = { db: database.db, keys };
  keys.during("mint", async () => {
    await startSession(deps, request);
    throw new AppError("proxy_rejected", "refused");
  });

  expect(await outcome(startSession(deps, request))).toBe("proxy_rejected");
  expect((await getSession(database.db, "s1")).state).toBe("active");
});
