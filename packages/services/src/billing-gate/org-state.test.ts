import fc from "fast-check";
import { expect, test } from "vitest";
import { nextOrgState, type OrgStateFacts } from "./org-state.ts";

const facts: OrgStateFacts = { balanceCredits: "100", plan: "paid", graceIsOver: false, graceMs: 300_000, overdraftCredits: "500" };

test.each([
  ["an org without a known balance stays unconfigured", "unconfigured", { balanceCredits: null }, "unconfigured", undefined],
  ["credits make a paid org active", "unconfigured", {}, "active", undefined],
  ["credits make a trial org trial", "unconfigured", { plan: "trial" }, "trial", undefined],
  ["who never had a credit gets no grace", "unconfigured", { balanceCredits: "0" }, "exhausted", "balance"],
  ["a trial ends without grace", "trial", { plan: "trial", balanceCredits: "0" }, "exhausted", "balance"],
  ["a paid org at zero enters grace", "active", { balanceCredits: "0" }, "grace", undefined],
  ["a paid org without grace is exhausted", "active", { balanceCredits: "-1", graceMs: 0 }, "exhausted", "balance"],
  ["an org at minus its overdraft skips grace", "active", { balanceCredits: "-500" }, "exhausted", "overdraft"],
  ["grace lasts until its time is over", "grace", { balanceCredits: "-499.999999" }, "grace", undefined],
  ["grace ends with its time", "grace", { balanceCredits: "-1", graceIsOver: true }, "exhausted", "grace"],
  ["grace ends at the overdraft", "grace", { balanceCredits: "-500" }, "exhausted", "overdraft"],
  ["credits end grace", "grace", { balanceCredits: "0.0000000001" }, "active", undefined],
  ["credits end exhaustion", "exhausted", {}, "active", undefined],
  ["an upgraded trial becomes active", "trial", {}, "active", undefined],
  ["a suspended org stays so, whatever it has", "suspended", {}, "suspended", undefined],
] as const)("%s", (_title, state, change, next, exhaustedBy) => {
  const transition = nextOrgState(state, { ...facts, ...change });
  expect([transition.state, transition.exhaustedBy]).toEqual([next, exhaustedBy]);
});

test("asking twice is the same as asking once, whatever the facts", () => {
  const anyFacts = fc.record({
    balanceCredits: fc.option(fc.integer({ min: -1_000, max: 1_000 }).map(String)),
    plan: fc.constantFrom("paid" as const, "trial" as const),
    graceIsOver: fc.boolean(),
    graceMs: fc.constantFrom(0, 300_000),
    overdraftCredits: fc.constantFrom("0", "500"),
  });
  const anyState = fc.constantFrom("unconfigured", "trial", "active", "grace", "exhausted", "suspended");
  fc.assert(
    fc.property(anyState, anyFacts, (state, given) => {
      const once = nextOrgState(state, given);
      // Grace that begins has not ended yet.
      expect(nextOrgState(once.state, { ...given, graceIsOver: state === "grace" && given.graceIsOver }).state).toBe(once.state);
      // Work never goes on without credits, but in grace.
      const isOut = given.balanceCredits !== null && Number(given.balanceCredits) <= 0;
      expect(isOut && (once.state === "active" || once.state === "trial" || once.state === "unconfigured")).toBe(false);
    }),
  );
});
