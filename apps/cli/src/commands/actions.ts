import { readActions } from "@proliferate/services/operator";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseLimit } from "../option-values.ts";
import { jsonDocument } from "../output.ts";

/** `billing actions`: who did what by hand, newest first. */
export function actions(options: { readonly org?: string; readonly subject?: string; readonly limit?: string }): Action {
  return async ({ db, json, write }) => {
    const rows = await readActions(db, {
      orgId: options.org,
      subject: options.subject,
      limit: options.limit === undefined ? 50 : parseLimit("--limit", options.limit),
    });
    const lines = rows.map(
      (row) =>
        `${row.acted_at.toISOString()}  ${row.action}  ${row.subject}  by ${row.operator} (${row.via})${row.reason === null ? "" : `: ${row.reason}`}\n`,
    );
    await write(json ? jsonDocument({ actions: rows }) : lines.join("") || "Nothing was done by hand.\n");
    return EXIT.done;
  };
}
