import type { Logger } from "@proliferate/runtime";
import { until } from "@proliferate/testing/test-patience";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type RedisMood, RedisStandIn } from "../../test/redis-stand-in.ts";
import { FindingSeal } from "./finding-seal.ts";
import { SharedFindings } from "./shared-findings.ts";
import { findingOf } from "./test-findings.ts";

const seal = new FindingSeal({ masterKey: "sk-master", database: "db" });
const logged: string[] = [];
const log = (_: object, event: string): void => void logged.push(event);
const logger = { info: log, warn: log, error: log } as unknown as Logger;
beforeEach(() => void (logged.length = 0));

function open(redisUrl: string): SharedFindings {
  const shared = new SharedFindings({ redisUrl, seal, logger });
  onTestFinished(() => shared.stop());
  return shared;
}

async function standIn(): Promise<RedisStandIn> {
  const redis = new RedisStandIn();
  await redis.start();
  onTestFinished(() => redis.stop());
  return redis;
}

/** Tells it until it is there: one that rests or connects loses what it is told. */
async function tellAndFind(from: SharedFindings, to: SharedFindings, keyHash: string): Promise<void> {
  await until(async () => {
    await from.tell(keyHash, findingOf(), 0);
    return (await to.find(keyHash)) !== undefined;
  });
}

// A real one, too, where there is one (`.ci/run`).
const real = process.env["TEST_REDIS_URL"];
test.each([undefined, ...(real === undefined ? [] : [real])])(
  "what one tells, another finds, until it is not believed any more (%s)",
  async (url) => {
    const redisUrl = url ?? (await standIn()).url;
    const [one, other] = [open(redisUrl), open(redisUrl)];
    const keyHash = `${process.pid}-${performance.now()}`;

    await tellAndFind(one, other, keyHash);

    expect([one.isConnected, other.isConnected]).toEqual([true, true]);
    expect(await other.find("another key")).toBeUndefined();
    await until(async () => (await other.find(keyHash)) === undefined);
    await one.tell(keyHash, findingOf(), 900);
    expect(await other.find(keyHash)).toBeUndefined();
  },
);

describe.each<RedisMood>(["silent", "slow", "garbage", "endless", "lying", "cutting"])("a Redis that is %s", (mood) => {
  test("loses findings and nothing else, and is asked again when it is well", async () => {
    const redis = await standIn();
    const [one, other] = [open(redis.url), open(redis.url)];
    await tellAndFind(one, other, "before");
    redis.flush();
    redis.told.splice(0);
    redis.mood = mood;

    // However it ends, it ends, and with nothing.
    for (let index = 0; index < 300; index += 1) {
      const [found] = await Promise.all([other.find(`k${index % 3}`), one.tell("told", findingOf(), 0)]);
      expect(found).toBeUndefined();
    }
    if (mood !== "lying") await until(() => logged.includes("limits_redis.away"));

    redis.mood = "well";
    await tellAndFind(one, other, "after");
  });
});

test("one that is not there, or dies, is tried again without an end", async () => {
  const redis = await standIn();
  const [one, other] = [open(redis.url), open(redis.url)];
  await tellAndFind(one, other, "k");

  await redis.stop();
  expect(await other.find("k")).toBeUndefined();
  await until(async () => {
    await one.find("k");
    return !one.isConnected;
  });
  await redis.start();
  await tellAndFind(one, other, "k");
  expect(logged.filter((event) => event === "limits_redis.connected").length).toBeGreaterThanOrEqual(2);
});

test("an answer without an end is cut off by its bytes, whatever time it has", async () => {
  const redis = await standIn();
  const shared = open(redis.url);
  await tellAndFind(shared, shared, "k");
  redis.mood = "endless";

  expect(await shared.find("k")).toBeUndefined();
  await until(() => logged.includes("limits_redis.away"));
  // A megabyte is what may be owed; the rest is on its way in the buffers of two sockets.
  expect(redis.poured).toBeLessThan(16 * 1024 * 1024);
});

test("no more than so many questions are under way at once", async () => {
  const redis = await standIn();
  const shared = open(redis.url);
  await tellAndFind(shared, shared, "k");
  redis.mood = "silent";
  redis.asked = 0;

  await Promise.all(Array.from({ length: 1_000 }, async (_, index) => shared.find(`k${index}`)));

  expect(redis.asked).toBe(128);
});
