import type { DatabaseClient } from "@proliferate/db";
import { type Operator, recordAction } from "../operator/operator.ts";
import { clearAlert } from "./retention-db.ts";

/**
 * Closes an alert that a person looked at, and puts that on record; the job that raised it raises it again if it happens again.
 * Returns false, changing nothing, when it is closed or unknown. Repeating it is safe.
 */
export async function clearAlertByHand(db: DatabaseClient, key: string, operator: Operator): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await clearAlert(tx, key))) return false;
    await recordAction(tx, { action: "alert.cleared", subject: key, operator });
    return true;
  });
}
