import { dismiss, redrive } from "@proliferate/services/decisions";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing redrive <id> [--org]`: sends on what rests, after its cause was corrected. */
export function redriveOne(id: string, options: OperatorOptions & { readonly org?: string; readonly create?: boolean }): Action {
  return async ({ db, json, operator, write }) => {
    const result = await redrive(db, id, { orgId: options.org, create: options.create, operator: operator(options) });
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}

/** `billing dismiss <review>`: closes a review without billing it. */
export function dismissOne(id: string, options: OperatorOptions): Action {
  return async ({ db, json, operator, write }) => {
    const result = await dismiss(db, id, operator(options));
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}
