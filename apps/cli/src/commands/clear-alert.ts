import { clearAlert } from "@proliferate/services/billing/retention-db";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing clear-alert <key>`: closes an alert that was looked at. Repeating it is safe. */
export function clearOneAlert(key: string): Action {
  return async ({ db, json, write }) => {
    const cleared = await clearAlert(db, key);
    const message = cleared ? `Alert ${key} is closed.` : `There is no open alert ${key}; nothing was changed.`;
    await write(json ? jsonDocument({ key, cleared, message }) : `${message}\n`);
    return EXIT.done;
  };
}
