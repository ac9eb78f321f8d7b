import { readPayer } from "@proliferate/access/principals";
import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { lockGate } from "./db.ts";

/** Throws `payer_refused` where another org pays for this one: its own gate and settings are asked by nobody. */
export async function requireOwnPayer(db: DatabaseExecutor, orgId: string): Promise<void> {
  const payer = await readPayer(db, orgId);
  if (payer === orgId) return;
  throw new AppError(
    "payer_refused",
    `${payer} pays for ${orgId}, so its own settings hold for nothing; change those of ${payer}, or unset the payer.`,
    { param: "org_id" },
  );
}

/**
 * Locks the gate of whoever pays for the team, and returns who that is. It is asked again under the lock: whoever changes a payer holds
 * both gates meanwhile, so the answer holds as long as the transaction.
 */
export async function lockPayersGate(tx: DatabaseExecutor, teamId: string): Promise<string> {
  for (;;) {
    const payer = await readPayer(tx, teamId);
    await lockGate(tx, payer);
    if ((await readPayer(tx, teamId)) === payer) return payer;
  }
}
