import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type Operator, recordAction } from "../operator/index.ts";
import { clearAlert, hasAlert } from "../ledger/index.ts";

/**
 * Closes an alert that a person looked at, and puts that on record; the job that raised it raises it again if it happens again.
 * Returns false, changing nothing, when it is closed already. Throws `billing_not_found` for a key that no alert ever had.
 */
export async function clearAlertByHand(db: DatabaseClient, key: string, operator: Operator): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await clearAlert(tx, key))) {
      if (await hasAlert(tx, key)) return false;
      throw new AppError("billing_not_found", `There never was an alert "${key}"; billing status tells the open ones.`);
    }
    await recordAction(tx, { action: "alert.cleared", subject: key, operator });
    return true;
  });
}
