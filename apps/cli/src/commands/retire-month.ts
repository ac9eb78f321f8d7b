import { previewRetirement, retireMonth } from "@proliferate/services/ledger";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing retire-month <month>`: tells what it would do, and with `--apply` takes the month out of the ledger. Repeating it is safe. */
export function retire(month: string, options: OperatorOptions & { readonly apply?: boolean }): Action {
  return async ({ db, json, operator, write }) => {
    const apply = options.apply ?? false;
    const result = apply ? await retireMonth(db, month, operator(options)) : await previewRetirement(db, month);
    await write(json ? jsonDocument({ dryRun: !apply, ...result }) : `${messageOf(result, apply)}\n`);
    return result.refusals.length === 0 ? EXIT.done : EXIT.refused;
  };
}

function messageOf({ month, retired, events, refusals }: Awaited<ReturnType<typeof previewRetirement>>, apply: boolean): string {
  const table = `billing_events_${month.replace("-", "_")}`;
  if (refusals.length > 0) return `Nothing is changed. The month ${month} cannot be retired: ${refusals.join("; ")}.`;
  if (retired)
    return `The month ${month} is out of the ledger with ${events} events; its table ${table} stays until somebody exports and drops it.`;
  return apply
    ? ""
    : `Dry run: nothing is changed. ${events} events would leave the ledger with ${month}, every one of them delivered; their sums and keys stay, and so does the table ${table}. --apply does it.`;
}
