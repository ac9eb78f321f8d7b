import type { Amounts } from "@proliferate/access/limits";
import fc from "fast-check";
import { expect, test } from "vitest";
import { BELIEVED_MS } from "./finding.ts";
import { RememberedFindings } from "./remembered-findings.ts";
import { callerOf, findingOf, limitOf, STORE_MS } from "./test-findings.ts";

const CALLER = callerOf("k");
const ASKED: Amounts = new Map([
  ["requests", { least: "1", most: "1" }],
  ["usd", { least: "0.5", most: "2" }],
]);
const OWN = { foundAtMs: 0, source: "own" } as const;
const endsIn = (ms: number): string => new Date(STORE_MS + ms).toISOString().replace("T", " ").replace("Z", "+00");

function memory(): { readonly findings: RememberedFindings; readonly clock: { ms: number } } {
  const clock = { ms: 0 };
  return { clock, findings: new RememberedFindings(() => clock.ms) };
}

test("a finding is believed for 900 ms after the store was asked, and not a moment longer", () => {
  const { findings, clock } = memory();
  clock.ms = 500;
  findings.remember("k", findingOf(), { foundAtMs: 100, source: "shared" });

  expect(findings.refusal(CALLER, "m", ASKED)).toMatchObject({ error: { code: "limit_exceeded" }, source: "shared" });
  clock.ms = 999;
  expect([findings.has("k"), findings.refusal(CALLER, "m", ASKED)?.error.code]).toEqual([true, "limit_exceeded"]);
  clock.ms = 1_000;
  expect([findings.has("k"), findings.refusal(CALLER, "m", ASKED)]).toEqual([false, undefined]);
});

test("a window that ends sooner ends it, before the new window begins; the seconds until then are counted down", () => {
  const { findings, clock } = memory();
  const day = limitOf({ window: "day", windowEnd: endsIn(60_300), secondsLeft: 61 });
  findings.remember("k", findingOf({ limits: [day] }), OWN);
  const told = (): unknown => findings.refusal(CALLER, "m", ASKED)?.error.retryAfterSeconds;

  clock.ms = 299;
  expect(told()).toBe(61);
  clock.ms = 300;
  expect(told()).toBe(60);
  findings.forgetAll();
  findings.remember("k", findingOf({ limits: [limitOf({ window: "day", windowEnd: endsIn(200) })] }), { ...OWN, foundAtMs: 301 });
  clock.ms = 499;
  expect(findings.has("k")).toBe(true);
  clock.ms = 500;
  expect([findings.has("k"), findings.refusal(CALLER, "m", ASKED)]).toEqual([false, undefined]);
});

test.each([
  ["only reservations refuse", [limitOf({ used: "9", reserved: "1" })]],
  ["nothing refuses", [limitOf({ used: "9" })]],
  ["there are limits after the used-up one", [limitOf(), limitOf({ used: "1" })]],
  ["the window is over", [limitOf({ windowEnd: endsIn(-1) })]],
  ["nobody can say when the window ends", [limitOf({ windowEnd: "tomorrow" })]],
])("what another process may write although %s is not believed", (_, limits) => {
  const { findings } = memory();
  findings.remember("k", findingOf({ limits }), OWN);

  expect([findings.size, findings.refusal(CALLER, "m", ASKED)]).toEqual([0, undefined]);
});

test("it says nothing of another model, another key, or a key or team that was edited", () => {
  const { findings } = memory();
  findings.remember("k", findingOf(), OWN);

  expect(findings.refusal(CALLER, "other", ASKED)).toBeUndefined();
  expect(findings.refusal(callerOf("other"), "m", ASKED)).toBeUndefined();
  expect(findings.refusal(callerOf("k", { maxBudgetUsd: "7" }), "m", ASKED)).toBeUndefined();
  expect(findings.refusal(CALLER, "m", ASKED)?.error.code).toBe("limit_exceeded");
});

test("where a limit before the used-up one has too little for this request, the store has to say how much that is", () => {
  const { findings } = memory();
  const budget = limitOf({ meter: "usd", amount: "1", used: "0.6" });
  findings.remember("k", findingOf({ limits: [budget, limitOf()] }), OWN);

  expect(findings.refusal(CALLER, "m", ASKED)).toBeUndefined();
  expect(findings.refusal(CALLER, "m", new Map([...ASKED, ["usd", { least: "0.4", most: "2" }]]))?.error.code).toBe("limit_exceeded");
});

test("what was read before an edit that was made here is not believed, also if it is told afterwards", () => {
  const { findings, clock } = memory();
  findings.remember("k", findingOf(), OWN);
  clock.ms = 10;
  findings.forgetAll();
  expect(findings.refusal(CALLER, "m", ASKED)).toBeUndefined();
  clock.ms = 20;

  findings.remember("k", findingOf(), { ...OWN, foundAtMs: 10 });
  expect(findings.refusal(CALLER, "m", ASKED)).toBeUndefined();
  findings.remember("k", findingOf(), { ...OWN, foundAtMs: 11 });
  expect(findings.refusal(CALLER, "m", ASKED)?.error.code).toBe("limit_exceeded");
});

test("whatever happens, what is refused by memory was refused by the store less than 900 ms before, and after the last edit here", () => {
  const step = fc.record({ afterMs: fc.nat(500), ageMs: fc.nat(1_000), what: fc.constantFrom("ask", "found", "edit") });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { findings, clock } = memory();
      let [lastFoundMs, lastEditMs] = [-Infinity, -Infinity];
      clock.ms = 10_000;
      const wrong: number[] = [];
      for (const { afterMs, ageMs, what } of steps) {
        clock.ms += afterMs;
        if (what === "edit") {
          findings.forgetAll();
          lastEditMs = clock.ms;
        } else if (what === "found") {
          findings.remember("k", findingOf(), { foundAtMs: clock.ms - ageMs, source: "shared" });
          lastFoundMs = Math.max(lastFoundMs, clock.ms - ageMs);
        } else if (findings.refusal(CALLER, "m", ASKED) && (clock.ms - lastFoundMs >= BELIEVED_MS || lastFoundMs <= lastEditMs)) {
          wrong.push(clock.ms);
        }
      }
      expect(wrong).toEqual([]);
    }),
  );
});

test("keys and models are bounded: the oldest go", () => {
  const { findings } = memory();
  for (let index = 0; index < 10_100; index += 1) findings.remember(`k${index}`, findingOf(), OWN);
  for (let index = 0; index < 20; index += 1) findings.remember("k", findingOf({ model: `m${index}` }), OWN);

  expect(findings.size).toBe(10_000);
  expect([findings.has("k100"), findings.has("k101")]).toEqual([false, true]);
  expect([findings.refusal(CALLER, "m11", ASKED), findings.refusal(CALLER, "m12", ASKED)?.error.code]).toEqual([
    undefined,
    "limit_exceeded",
  ]);
});
