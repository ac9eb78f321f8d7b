import { redrive } from "@proliferate/services/billing/redrive";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing redrive <batch>`: sends what rests undelivered again, after its cause was corrected. */
export function redriveOne(id: string): Action {
  return async ({ db, json, write }) => {
    const result = await redrive(db, id);
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}
