import { decideBatch } from "@proliferate/services/decisions";
import { AppError } from "@proliferate/shared/errors";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing decide <batch> --delivered|--not-delivered --reason`: what only somebody who looked at the sink can tell. */
export function decideOne(
  id: string,
  options: OperatorOptions & { readonly delivered?: boolean; readonly notDelivered?: boolean },
): Action {
  return async ({ db, json, operator, write }) => {
    if (options.delivered === options.notDelivered)
      throw new AppError("invalid_request", "Say what the sink shows: --delivered or --not-delivered.");
    const result = await decideBatch(db, id, { wasTaken: options.delivered ?? false, operator: operator(options) });
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}
