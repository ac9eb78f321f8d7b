import type { DatabaseClient } from "@proliferate/db";
import type { CallerRow } from "../keys/index.ts";
import { checkLimits, limitError, readLimits } from "../limits/index.ts";

const NOTHING = new Map<string, never>();

/**
 * Throws what `limitError` says when a limit of the caller's path is used up. Reserves nothing and promises nothing: for what
 * costs nothing, and before the work of reading what admission would refuse.
 */
export async function requireLimitsLeft(db: DatabaseClient, caller: CallerRow): Promise<void> {
  const { limits } = await readLimits(db, caller, null);
  const verdict = checkLimits(limits, NOTHING);
  if (verdict.kind === "exceeded") throw limitError(verdict);
}
