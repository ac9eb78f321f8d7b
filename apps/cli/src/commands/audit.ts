import { auditCompleteness, type AuditResult } from "@proliferate/services/billing";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseInstant } from "../instant.ts";
import { dollars, jsonDocument } from "../output.ts";

export interface AuditCommandOptions {
  readonly from: string;
  readonly to: string;
  readonly heal?: boolean;
}

/** `billing audit --from --to`: source against ledger by organization and day; with `--heal` what is missing is billed. */
export function audit(options: AuditCommandOptions): Action {
  return async ({ db, json, write }) => {
    const range = { from: parseInstant("--from", options.from), to: parseInstant("--to", options.to) };
    const result = await auditCompleteness(db, { ...range, heal: options.heal ?? false });
    await write(json ? jsonDocument(result) : auditText(result, options.heal ?? false));
    return result.missingRows > result.healedRows ? EXIT.problemFound : EXIT.done;
  };
}

function auditText(result: AuditResult, heal: boolean): string {
  const { missingRows, healedRows } = result;
  const outcome =
    missingRows === 0
      ? "every one is in the ledger as it is in the source"
      : `${missingRows} are not in the ledger as they are in the source, ${dollars(result.missingUsd)}`;
  const next = missingRows === healedRows ? "" : heal ? "; the rest needs a person" : "; --heal bills them";
  return [
    `Audit ${result.auditId}: ${result.comparedRows} spend rows compared, ${outcome}${heal ? `; ${healedRows} healed` : ""}${next}`,
    ...result.gaps.map(
      (gap) =>
        `  ${gap.day}  ${gap.org_id}: source ${gap.source_rows} rows ${dollars(gap.source_usd)}, ledger ${gap.ledger_rows} rows ${dollars(gap.ledger_usd)}; ` +
        `${gap.not_ingested} never billed, ${gap.event_deleted} events and ${gap.adjustment_deleted} adjustments deleted, ${gap.amount_differs} amounts differ, ${dollars(gap.missing_usd)} missing; such as ${gap.examples.join(", ")}`,
    ),
    "",
  ].join("\n");
}
