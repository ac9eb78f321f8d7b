import { clearAlertByHand } from "@proliferate/services/decisions";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing clear-alert <key>`: closes an alert that was looked at. Repeating it is safe. */
export function clearOneAlert(key: string, options: OperatorOptions): Action {
  return async ({ db, json, operator, write }) => {
    const cleared = await clearAlertByHand(db, key, operator(options));
    const message = cleared ? `Alert ${key} is closed.` : `Alert ${key} is closed already; nothing was changed.`;
    await write(json ? jsonDocument({ key, cleared, message }) : `${message}\n`);
    return EXIT.done;
  };
}
