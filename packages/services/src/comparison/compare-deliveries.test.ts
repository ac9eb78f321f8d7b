import { expect, it } from "vitest";
import { confirmByWitness, judgeByList, type Witness } from "./compare-deliveries.ts";
import type { ComparableBatch } from "./reconcile-deliveries-db.ts";

const batch = (credits: string): ComparableBatch => ({
  batchId: "00000000-0000-4000-8000-000000000001",
  orgId: "org_a",
  state: "unknown",
  credits,
  expectedCredits: null,
  isUnconfirmed: false,
  isQuiet: true,
});
const witness: Witness = { kind: "agrees", offCredits: "0", noiseCredits: "0.00002", balances: "same" };
const verdictOf = (credits: string, found: string) => confirmByWitness(batch(credits), found, judgeByList(batch(credits), found), witness);

it("seed 5906: an amount that the digits of the sink's sum do not tell is neither sent again nor given back by that sum", () => {
  expect(verdictOf("0.00004", "0")).toMatchObject({ kind: "unresolved", foundCredits: "0" });
  expect(verdictOf("0.00004", "0.00008")).toMatchObject({ kind: "unresolved", foundCredits: "0.00008" });
});

it("an amount that they do tell is decided by list and sum together", () => {
  expect(verdictOf("0.00005", "0")).toEqual({ kind: "not_taken" });
  expect(verdictOf("0.00005", "0.0001")).toMatchObject({ kind: "double_charge", correction: "-0.00005" });
});
