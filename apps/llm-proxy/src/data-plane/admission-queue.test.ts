import { AppError } from "@proliferate/shared/errors";
import { expect, test } from "vitest";
import { AdmissionQueue, type AdmissionWaitLimits } from "./admission-queue.ts";

/** Nobody waits too long but where a test says so. */
const LIMITS: AdmissionWaitLimits = { mostMs: 600_000, mostPerKey: 100, most: 100, mostBytes: 1_000_000 };

/** Budgets as the store has them: a request takes all that is left of both of its budgets, until it is given back. */
class Budgets {
  readonly closed = new Map<"team" | string, boolean>();
  tries = 0;

  attempt(
    name: string,
    { keyHash, userId }: { readonly keyHash: string; readonly userId: string },
    admitted: string[],
  ): () => Promise<string> {
    return async () => {
      this.tries += 1;
      await Promise.resolve();
      const scope = this.closed.get(keyHash) ? "key" : this.closed.get(userId) ? "user" : this.closed.get("team") ? "team" : undefined;
      if (scope) throw new AppError("budget_reserved", "reserved", { details: { scope } });
      admitted.push(name);
      return name;
    };
  }
}

function setUp(limits: Partial<AdmissionWaitLimits> = {}) {
  const queue = new AdmissionQueue({ ...LIMITS, ...limits });
  const budgets = new Budgets();
  const admitted: string[] = [];
  const ask = (
    name: string,
    keyHash = "k",
    options: { readonly gone?: AbortSignal; readonly bytes?: number; readonly userId?: string } = {},
  ): Promise<string> => {
    const caller = { keyHash, teamId: "t", userId: options.userId ?? `user of ${keyHash}` };
    return queue.admit(
      { caller, bytes: options.bytes ?? 10, gone: options.gone ?? new AbortController().signal },
      budgets.attempt(name, caller, admitted),
    );
  };
  const settle = (keyHash = "k", userId = `user of ${keyHash}`): void =>
    queue.settled({ key_hash: keyHash, team_id: "t", user_id: userId });
  return { queue, budgets, admitted, ask, settle };
}

const reserved = { code: "budget_reserved" };

test("clients F4: who finds the budget reserved waits, and is admitted when what was reserved is given back", async () => {
  const { budgets, ask, settle, queue } = setUp();
  budgets.closed.set("k", true);
  const waiting = ask("a");
  await expect.poll(() => queue.waiting).toBe(1);

  budgets.closed.set("k", false);
  settle();

  expect(await waiting).toBe("a");
  expect(queue.waiting).toBe(0);
});

test("those who wait for one budget are admitted in the order in which they came, and nobody who comes later is before them", async () => {
  const { budgets, admitted, ask, settle, queue } = setUp();
  budgets.closed.set("team", true);
  const early = ["a", "b", "c"].map((name, index) => ask(name, `k${index}`));
  await expect.poll(() => queue.waiting).toBe(3);

  budgets.closed.set("team", false);
  const late = ask("late", "k9");
  settle();
  await Promise.all([...early, late]);

  expect(admitted).toEqual(["a", "b", "c", "late"]);
});

test("a key that waits for its own budget holds up no other key of its team", async () => {
  const { budgets, ask, queue, settle } = setUp();
  budgets.closed.set("k1", true);
  const held = ask("held", "k1");
  await expect.poll(() => queue.waiting).toBe(1);

  expect(await ask("free", "k2")).toBe("free");
  budgets.closed.set("k1", false);
  settle("k1");
  expect(await held).toBe("held");
});

test("a user who waits for a limit of his own holds up his other keys, and nobody else of the team", async () => {
  const { budgets, ask, queue, settle, admitted } = setUp();
  budgets.closed.set("u1", true);
  const first = ask("first", "k1", { userId: "u1" });
  await expect.poll(() => queue.waiting).toBe(1);
  const second = ask("second", "k2", { userId: "u1" });
  await expect.poll(() => queue.waiting).toBe(2);

  expect(await ask("free", "k3", { userId: "u2" })).toBe("free");
  budgets.closed.set("u1", false);
  settle("k2", "u1");
  await Promise.all([first, second]);

  expect(admitted).toEqual(["free", "first", "second"]);
});

test("what another process gives back is seen without being told, by one look at a time", async () => {
  const { budgets, ask, queue } = setUp();
  budgets.closed.set("team", true);
  const waiting = Array.from({ length: 50 }, (_, index) => ask(`w${index}`, `k${index}`));
  await expect.poll(() => queue.waiting).toBe(50);
  const before = budgets.tries;
  await expect.poll(() => budgets.tries).toBeGreaterThan(before + 2);
  expect(budgets.tries - before).toBeLessThan(10);

  budgets.closed.set("team", false);

  await expect(Promise.all(waiting)).resolves.toHaveLength(50);
});

test("who waits too long is told what it was told at first", async () => {
  const { budgets, ask, queue } = setUp({ mostMs: 150 });
  budgets.closed.set("k", true);

  await expect(ask("a")).rejects.toMatchObject(reserved);
  expect(queue.waiting).toBe(0);
});

test("there is room for so many of a key, so many in all and so many bytes, and none when nobody waits", async () => {
  const perKey = setUp({ mostPerKey: 1 });
  perKey.budgets.closed.set("k", true);
  const first = perKey.ask("a");
  await expect.poll(() => perKey.queue.waiting).toBe(1);
  await expect(perKey.ask("b")).rejects.toMatchObject(reserved);
  perKey.budgets.closed.set("k", false);
  await first;

  for (const limits of [{ most: 0 }, { mostBytes: 9 }, { mostMs: 0 }]) {
    const none = setUp(limits);
    none.budgets.closed.set("k", true);
    await expect(none.ask("a")).rejects.toMatchObject(reserved);
  }
});

test("a caller that leaves is forgotten at once; one that leaves while it is being admitted is admitted, and settled by who forwards", async () => {
  const { budgets, ask, queue, settle } = setUp();
  budgets.closed.set("k", true);
  const gone = new AbortController();
  const left = ask("left", "k", { gone: gone.signal });
  const next = ask("next");
  await expect.poll(() => queue.waiting).toBe(2);

  gone.abort(new Error("the caller left"));

  await expect(left).rejects.toThrow("the caller left");
  expect(queue.waiting).toBe(1);
  budgets.closed.set("k", false);
  settle();
  expect(await next).toBe("next");
});

test("another refusal, found while waiting, is told at once", async () => {
  const queue = new AdmissionQueue(LIMITS);
  let isRevoked = false;
  const waiting = queue.admit(
    { caller: { keyHash: "k", teamId: null, userId: null }, bytes: 1, gone: new AbortController().signal },
    async () => {
      throw isRevoked
        ? new AppError("invalid_api_key", "revoked")
        : new AppError("budget_reserved", "reserved", { details: { scope: "key" } });
    },
  );
  await expect.poll(() => queue.waiting).toBe(1);

  isRevoked = true;

  await expect(waiting).rejects.toMatchObject({ code: "invalid_api_key" });
});

test("breaker 7: who waits for what another process settles is looked at in time, however often others settle here", async () => {
  const { budgets, ask, settle, queue } = setUp({ mostMs: 60_000 });
  budgets.closed.set("k1", true);
  const waiting = ask("a", "k1");
  await expect.poll(() => queue.waiting).toBe(1);

  budgets.closed.set("k1", false);
  const others = setInterval(() => settle("k2"), 5);

  await expect(waiting.finally(() => clearInterval(others))).resolves.toBe("a");
});
