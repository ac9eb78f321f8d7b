import { expect, test } from "vitest";
import { InFlight } from "./in-flight.ts";

test("hostile 18: a key has its share, all together theirs, and a place is free again however a task ends", async () => {
  const counts = new InFlight({ perKey: 2, total: 3 });
  const gate = Promise.withResolvers<string>();
  const running = [counts.run("a", () => gate.promise), counts.run("a", () => gate.promise), counts.run("b", () => gate.promise)];

  await expect(counts.run("a", () => gate.promise)).rejects.toMatchObject({ code: "too_many_at_once" });
  await expect(counts.run("c", () => gate.promise)).rejects.toMatchObject({ code: "gateway_busy" });
  gate.resolve("done");
  expect(await Promise.all(running)).toEqual(["done", "done", "done"]);
  await expect(counts.run("a", () => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
  expect(await Promise.all([1, 2].map(() => counts.run("a", async () => "again")))).toEqual(["again", "again"]);
});
