import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AttemptOutcome, SpooledAttempt } from "@proliferate/access/requests";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import fc from "fast-check";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { OpenAmounts } from "./open-amounts.ts";
import { entryOf, lineOf, type SpoolEntry } from "./spool-entry.ts";
import { prepareSpoolFolder, Spool, SPOOL_NAME } from "./spool.ts";

let folder: string;
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), "spool-test-")), "of", "its", "own");
  await prepareSpoolFolder(folder);
  onTestFinished(() => rm(join(folder, "../../.."), { recursive: true, force: true }));
});

const logged: string[] = [];
const log = (_: unknown, event?: string): void => void logged.push(event ?? "");
const logger = { info: log, warn: log, error: log, debug: log } as never;
function newSpool(mostBytes = 64 * 1024 * 1024): Spool {
  const spool = new Spool({ folder, instanceId: 7, mostBytes, logger });
  onTestFinished(() => spool.close());
  return spool;
}

function attempt(change: Partial<SpooledAttempt> = {}): SpooledAttempt {
  return {
    attempt_id: randomUUID(),
    instance_id: 7,
    key_hash: "k1",
    team_id: "t1",
    user_id: "u1",
    key_alias: null,
    dialect: "openai",
    call_type: "acompletion",
    model_group: "gpt-4o-mini",
    model: "openai/gpt-4o-mini",
    provider: "openai",
    api_base: "https://provider.test",
    price_id: "openai/gpt-4o-mini",
    end_user: "Zoë\u2028\n",
    client_session_id: null,
    requester_ip_address: "127.0.0.1",
    reserved_usd: "0.0000000000001",
    reservations: [{ kind: "user", id: "u1", meter: "requests", window: "day", model: "", amount: "1" }],
    estimated_input_tokens: 10,
    max_output_tokens: null,
    hidden_tokens_per_second: 0,
    requested_model: "our-mini",
    request_tags: ["a", "b"],
    started_at: new Date("2026-11-27T10:00:00.123Z"),
    ...change,
  };
}

const OUTCOME: AttemptOutcome = {
  report: { ...reportOf({ ...NO_USAGE, inputTokens: 7, outputTokens: 5 }), raw: { usage: { prompt_tokens: 7 } } },
  cost: { inputUsd: "0.00000003", outputUsd: "0", toolUsd: "0", totalUsd: "0.00000003" },
  unpriced: [],
  flags: ["free"],
  status: "failure",
  estimated: true,
  recovered: false,
  providerResponseId: null,
  firstByteAt: new Date("2026-11-27T10:00:01.001Z"),
  endedAt: new Date("2026-11-27T10:00:02Z"),
  error: { code: "499", kind: "CallerGone", message: "left" },
};

/** The entries of every file of the folder, and how many lines could not be read. */
async function readFolder(): Promise<{ readonly entries: readonly SpoolEntry[]; readonly unreadable: number }> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => line !== "");
  const entries = lines.map(entryOf);
  return { entries: entries.filter((entry) => entry !== undefined), unreadable: entries.filter((entry) => entry === undefined).length };
}

describe("a line", () => {
  test("says what was written, and is one line whatever the caller's text has in it", () => {
    for (const entry of [
      { attempt: attempt(), outcome: undefined },
      { attempt: attempt({ reservations: null }), outcome: OUTCOME },
      { attempt: attempt(), outcome: { ...OUTCOME, report: { ...OUTCOME.report, raw: undefined }, firstByteAt: null } },
    ]) {
      expect(lineOf(entry).trimEnd().split("\n")).toHaveLength(1);
      expect(entryOf(lineOf(entry).trimEnd())).toEqual(entry);
    }
  });

  test("that was cut anywhere, or of which a character is another one, is not read", () => {
    const line = lineOf({ attempt: attempt(), outcome: OUTCOME }).trimEnd();
    fc.assert(
      fc.property(fc.nat(line.length - 1), (at) => {
        expect(entryOf(line.slice(0, at))).toBeUndefined();
        expect(entryOf(`${line.slice(0, at)}${line[at] === "0" ? "1" : "0"}${line.slice(at + 1)}`)).toBeUndefined();
      }),
    );
  });

  test("has a bound, whatever a provider says of its usage", () => {
    const raw = { usage: "x".repeat(1_000_000) };
    const line = lineOf({ attempt: attempt(), outcome: { ...OUTCOME, report: { ...OUTCOME.report, raw } } });

    expect(line.length).toBeLessThan(20 * 1024);
    expect(entryOf(line.trimEnd())?.outcome?.report.raw).toBeUndefined();
  });
});

describe("a spool", () => {
  test("has each request on the disk when it is admitted, and its outcome when that is kept; its file goes with the last one", async () => {
    const spool = newSpool();
    const attempts = Array.from({ length: 50 }, () => attempt());

    await Promise.all(attempts.map((one) => spool.admit(one)));
    const ids = new Set((await readFolder()).entries.map((entry) => entry.attempt.attempt_id));
    await Promise.all(attempts.map((one) => spool.settle(one.attempt_id, OUTCOME)));
    const { entries, unreadable } = await readFolder();

    expect(ids).toEqual(new Set(attempts.map((one) => one.attempt_id)));
    expect([entries.filter(({ outcome }) => outcome).length, unreadable]).toEqual([50, 0]);
    expect((await readdir(folder)).every((name) => SPOOL_NAME.test(name))).toBe(true);
    expect([spool.requests, [...spool.ended()].length]).toEqual([50, 50]);
    for (const one of attempts) await spool.done(one.attempt_id);
    expect([await readdir(folder), spool.requests, spool.bytes]).toEqual([[], 0, 0]);
    expect(spool.open.usdOf("k1")).toBe("0");
  });

  test("of which another process took the file goes on in a new one: no line stands in the old one alone", async () => {
    const spool = newSpool();
    const [first, second, third] = [attempt(), attempt(), attempt()];
    await spool.admit(first);
    const [name = ""] = await readdir(folder);
    const taken = join(folder, "..", "taken");
    await rename(join(folder, name), taken);

    await Promise.all([spool.admit(second), spool.settle(first.attempt_id, OUTCOME)]);
    await spool.admit(third);

    const { entries } = await readFolder();
    expect(new Set(entries.map((entry) => entry.attempt.attempt_id))).toEqual(new Set([first, second, third].map((one) => one.attempt_id)));
    expect(entries.find((entry) => entry.attempt.attempt_id === first.attempt_id)?.outcome).toEqual(OUTCOME);
    expect(logged).toContain("spool.taken_away");
  });

  test("takes no more than its bytes, with the outcomes of all that run", async () => {
    const spool = newSpool(64 * 1024);
    let admitted = 0;
    for (; spool.hasRoom(); admitted += 1) await spool.admit(attempt());
    const { bytes } = spool;

    expect(admitted).toBeGreaterThan(0);
    expect(bytes + admitted * lineOf({ attempt: attempt(), outcome: OUTCOME }).length).toBeLessThan(64 * 1024);
  });

  test("keeps no request that the disk does not take, and goes on when it does again; an outcome stays in memory", async () => {
    const spool = newSpool();
    const first = attempt();
    await spool.admit(first);
    await rm(folder, { recursive: true });

    await expect(spool.admit(attempt())).rejects.toThrow("ENOENT");
    await spool.settle(first.attempt_id, OUTCOME);
    expect([spool.requests, [...spool.ended()].length, spool.open.usdOf("k1")]).toEqual([1, 1, "0.00000003"]);

    await prepareSpoolFolder(folder);
    await spool.admit(attempt());
    expect((await readFolder()).entries).toHaveLength(1);
  });
});

test("what is open is the exact sum over what runs and what is over, in any order, and nothing when all is on record", () => {
  const amount = fc.integer({ min: 0, max: 10 ** 9 }).map((units) => (units / 10 ** 9).toFixed(12));
  fc.assert(
    fc.property(
      fc.array(fc.record({ reserved: amount, cost: amount, key: fc.constantFrom("k1", "k2") }), { maxLength: 20 }),
      (requests) => {
        const open = new OpenAmounts();
        const running = requests.map(({ reserved, key }) => ({
          attempt: attempt({ key_hash: key, reserved_usd: reserved }),
          outcome: undefined,
        }));
        const ended = requests.map(({ cost }, index) => ({
          attempt: (running[index] as SpoolEntry).attempt,
          outcome: { ...OUTCOME, cost: { ...OUTCOME.cost, totalUsd: cost } },
        }));
        const sum = (key: string, pick: "reserved" | "cost"): number =>
          Math.round(requests.filter((one) => one.key === key).reduce((total, one) => total + Number(one[pick]) * 10 ** 12, 0));
        const picoUsd = (key: string): number => Math.round(Number(open.usdOf(key)) * 10 ** 12);
        const userRequests = { principal: { kind: "user", id: "u1" }, meter: "requests", window: "day", model: "" } as const;

        for (const entry of running) open.move(undefined, entry);
        expect([picoUsd("k1"), picoUsd("k2"), open.of(userRequests)]).toEqual([
          sum("k1", "reserved"),
          sum("k2", "reserved"),
          String(requests.length),
        ]);
        ended.forEach((entry, index) => open.move(running[index], entry));
        expect([picoUsd("k1"), picoUsd("k2")]).toEqual([sum("k1", "cost"), sum("k2", "cost")]);
        for (const entry of ended.toReversed()) open.move(entry, undefined);
        expect([open.usdOf("k1"), open.usdOf("k2"), open.of(userRequests)]).toEqual(["0", "0", "0"]);
      },
    ),
  );
});
