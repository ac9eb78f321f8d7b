import { dismiss, redrive } from "@proliferate/services/billing/redrive";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing redrive <id> [--org]`: sends on what rests, after its cause was corrected. */
export function redriveOne(id: string, options: { readonly org?: string }): Action {
  return async ({ db, json, write }) => {
    const result = await redrive(db, id, { orgId: options.org });
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}

/** `billing dismiss <review>`: closes a review without billing it. */
export function dismissOne(id: string): Action {
  return async ({ db, json, write }) => {
    const result = await dismiss(db, id);
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}
