import type { DatabaseClient } from "@proliferate/db";
import type { CallerRow } from "../keys/index.ts";
import { type Amounts, checkLimits, limitError, METERS, readLimits } from "../limits/index.ts";

/** So it has room wherever anything is left. */
const NOTHING: Amounts = new Map(Object.keys(METERS).map((meter) => [meter, { least: "0", most: "0" }]));

/**
 * Throws what `limitError` says when a limit of the caller's path is used up. Reserves nothing and promises nothing: for what
 * costs nothing, and before the work of reading what admission would refuse.
 */
export async function requireLimitsLeft(db: DatabaseClient, caller: CallerRow): Promise<void> {
  // Asked for every large body, and most callers have nothing that could be used up. Limits of our own table are left to admission.
  if (caller.maxBudgetUsd === null && caller.teamMaxBudgetUsd === null && !caller.hasLimitColumns) return;
  const { limits } = await readLimits(db, caller, null);
  const verdict = checkLimits(limits, NOTHING);
  if (verdict.kind === "exceeded") throw limitError(verdict);
}
