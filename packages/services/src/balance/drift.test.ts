import { addDecimals, compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type BalanceFacts, findDrift } from "./drift.ts";

const facts: BalanceFacts = {
  localCredits: "70",
  remoteCredits: "100",
  certainCredits: "30",
  uncertainCredits: "0",
  grantedMoreCredits: "0",
  forgivenMoreCredits: "0",
  firstSightDoubtCredits: "0",
  periodReset: false,
};

test.each([
  ["a balance that is remote minus unposted agrees", {}, "70", "agrees", "0", "none"],
  ["Autumn's rounding is no drift", { localCredits: "70.0000004" }, "70.0000004", "agrees", "0", "none"],
  [
    "autumn H3: nor is the rounding of a large balance, which Autumn keeps to 14 digits",
    { localCredits: "70.0003", noiseCredits: "0.0006" },
    "70.0003",
    "agrees",
    "0",
    "none",
  ],
  ["the first balance is what is certainly left", { localCredits: null, uncertainCredits: "20" }, "50", "first_sight", "0", "none"],
  ["an answer that was lost leaves both readings possible, the higher", { uncertainCredits: "20" }, "70", "agrees", "0", "none"],
  ["and the lower", { uncertainCredits: "20", localCredits: "50" }, "50", "agrees", "0", "none"],
  ["beyond them it is corrected to the nearer one", { uncertainCredits: "20", localCredits: "45" }, "50", "sink_took_less", "-5", "info"],
  ["a double charge at the sink is found to its exact size", { remoteCredits: "87.5" }, "57.5", "sink_took_more", "12.5", "warn"],
  ["a drift of 500 credits is critical", { remoteCredits: "-400" }, "-430", "sink_took_more", "500", "critical"],
  ["a pack that was bought is a grant, no drift", { remoteCredits: "600", grantedMoreCredits: "500" }, "570", "grant", "0", "none"],
  ["what a grant does not explain is drift", { remoteCredits: "590", grantedMoreCredits: "500" }, "560", "sink_took_more", "10", "warn"],
  [
    "autumn M3: a pack after an overdraft is left whole, and the debt that is gone is named",
    { localCredits: "-34", certainCredits: "0", remoteCredits: "100", grantedMoreCredits: "100", forgivenMoreCredits: "34" },
    "100",
    "debt_forgiven",
    "0",
    "none",
  ],
  [
    "what a forgiven debt does not explain is drift",
    { localCredits: "-34", certainCredits: "0", remoteCredits: "80", grantedMoreCredits: "100", forgivenMoreCredits: "34" },
    "80",
    "sink_took_more",
    "20",
    "warn",
  ],
  [
    "autumn L: what was taken off at first sight to be sure comes back without an alarm",
    { localCredits: "50", firstSightDoubtCredits: "20" },
    "70",
    "first_sight",
    "0",
    "none",
  ],
  ["also a part of it", { localCredits: "55", firstSightDoubtCredits: "20" }, "70", "first_sight", "0", "none"],
  ["but no more than was taken off", { localCredits: "45", firstSightDoubtCredits: "20" }, "70", "sink_took_less", "-25", "warn"],
  ["a new period is no drift", { remoteCredits: "1000", grantedMoreCredits: "0", periodReset: true }, "970", "period_reset", "0", "none"],
] as const)("%s", (_title, change, afterCredits, cause, driftCredits, severity) => {
  expect(findDrift({ ...facts, ...change })).toMatchObject({ afterCredits, cause, driftCredits, severity });
});

test("what is found always adds up, and repeating it finds agreement", () => {
  const amount = fc.integer({ min: -1_000, max: 1_000 }).map(String);
  const size = fc.nat(500).map(String);
  fc.assert(
    fc.property(
      amount,
      amount,
      size,
      size,
      amount,
      size,
      size,
      (localCredits, remoteCredits, certainCredits, uncertainCredits, grantedMoreCredits, forgivenMoreCredits, firstSightDoubtCredits) => {
        const given = {
          localCredits,
          remoteCredits,
          certainCredits,
          uncertainCredits,
          grantedMoreCredits,
          forgivenMoreCredits,
          firstSightDoubtCredits,
          periodReset: false,
        };
        const finding = findDrift(given);
        const explained = addDecimals(localCredits, finding.grantCredits, finding.forgivenCredits);
        expect(compareDecimals(finding.afterCredits, subtractDecimals(explained, finding.driftCredits))).toBe(0);
        expect(findDrift({ ...given, localCredits: finding.afterCredits, grantedMoreCredits: "0", forgivenMoreCredits: "0" }).cause).toBe(
          "agrees",
        );
      },
    ),
  );
});
