import { applyReprice, previewReprice, type RepriceResult } from "@proliferate/services/repricing";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseInstant } from "../instant.ts";
import { columns, dollars, jsonDocument } from "../output.ts";

export interface RepriceOptions extends OperatorOptions {
  readonly from: string;
  readonly to?: string;
  readonly model?: string;
  readonly request?: string;
  readonly unknown?: boolean;
  readonly apply?: boolean;
}

const MOST_LINES = 50;

/** `billing reprice`: tells which rows today's prices would change, and with `--apply` writes the corrections. Repeating it is safe. */
export function repriceRows(options: RepriceOptions): Action {
  return async ({ db, json, operator, write }) => {
    const apply = options.apply ?? false;
    const to = options.to === undefined ? new Date() : parseInstant("--to", options.to);
    const filter = {
      from: parseInstant("--from", options.from),
      to,
      model: options.model,
      requestId: options.request,
      unknownOnly: options.unknown,
    };
    const result = apply ? await applyReprice(db, filter, operator(options)) : await previewReprice(db, filter);
    await write(json ? jsonDocument({ dryRun: !apply, ...result }) : textOf(result, apply));
    return EXIT.done;
  };
}

function textOf({ rows, unchanged, configured, changed, correctedBefore, differenceUsd }: RepriceResult, apply: boolean): string {
  const lines = changed
    .slice(0, MOST_LINES)
    .map((row) => [row.requestId, row.model, dollars(row.beforeUsd), dollars(row.afterUsd), row.unknown.join(", ")]);
  const head = apply ? `${changed.length} rows are corrected` : `Dry run: nothing is changed. ${changed.length} rows would be corrected`;
  return [
    `${head}, by ${dollars(differenceUsd)} in all; of ${rows} rows that keep their provider's usage ${unchanged} stay as they are.\n`,
    lines.length > 0 ? columns(["request", "model", "was", "is", "still without a price"], lines) : "",
    changed.length > MOST_LINES ? `… and ${changed.length - MOST_LINES} more; --json has all of them.\n` : "",
    configured > 0 ? `${configured} rows have a price that config.yaml set, which only the proxy knows; they are not looked at.\n` : "",
    correctedBefore.length > 0
      ? `${correctedBefore.length} rows were corrected before and should change again: ${correctedBefore
          .slice(0, 5)
          .map((row) => row.requestId)
          .join(", ")}. A request is corrected once.\n`
      : "",
    apply || changed.length === 0
      ? ""
      : "--apply writes the corrections; billing makes adjustments of them at the worker's next full pass.\n",
  ].join("");
}
