import type { CallerRow } from "@proliferate/access/keys";
import type { CountedLimit } from "@proliferate/access/limits";
import { type Finding, stateOf } from "./finding.ts";

/** Parts of findings, for tests. */

export const STORE_MS = Date.parse("2026-11-28T12:00:00Z");

export const callerOf = (keyHash: string, change: Partial<CallerRow> = {}): CallerRow =>
  ({ keyHash, shownHash: keyHash, ...change }) as CallerRow;

/** A limit of ten requests, ever, of which ten were used. */
export const limitOf = (change: Partial<CountedLimit> = {}): CountedLimit => ({
  principal: { kind: "user", id: "user-of-findings" },
  meter: "requests",
  window: "total",
  model: "",
  amount: "10",
  enforce: "refuse",
  windowStart: "-infinity",
  windowEnd: "infinity",
  secondsLeft: null,
  used: "10",
  reserved: "0",
  ...change,
});

/** What was found of the key `k` and the model `m`. */
export const findingOf = (change: Partial<Finding> = {}): Finding => ({
  model: "m",
  callerState: stateOf(callerOf("k")),
  storeMs: STORE_MS,
  limits: [limitOf()],
  ...change,
});
