import { exportEvents } from "@proliferate/services/reports";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseRange } from "../instant.ts";

export interface ExportOptions {
  readonly csv?: boolean;
  readonly org?: string;
  readonly from?: string;
  readonly to?: string;
}

/** `billing export`: every event with its batch, CSV unless `--json` asks for one object a line. */
export function exportLedger(options: ExportOptions): Action {
  return async ({ db, json, writeData }) => {
    await exportEvents(db, { orgId: options.org, ...parseRange(options) }, { format: json ? "json" : "csv", write: writeData });
    return EXIT.done;
  };
}
