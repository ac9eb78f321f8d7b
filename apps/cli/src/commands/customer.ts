import { requireKnownOrg } from "@proliferate/services/reports";
import { mapCustomer, MAPPED_SINKS, type MappedCustomer, readSinkCustomers } from "@proliferate/services/sinks";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseChoice } from "../option-values.ts";
import { columns, jsonDocument } from "../output.ts";

/** `billing customer map <org> <customer>`: whom the sink bills for the organization. Repeating it is safe. */
export function customerMap(
  orgId: string,
  customerId: string,
  options: OperatorOptions & { readonly sink: string; readonly create?: boolean },
): Action {
  return async ({ db, json, operator, write }) => {
    const sink = parseChoice("--sink", options.sink, MAPPED_SINKS);
    const who = operator(options);
    if (!options.create) await requireKnownOrg(db, orgId);
    const result = await mapCustomer(db, { sink, orgId, customerId }, who);
    await write(json ? jsonDocument(result) : `${messageOf(result)}\n`);
    return EXIT.done;
  };
}

function messageOf({ sink, orgId, customerId, previousCustomerId, releasedBatches }: MappedCustomer): string {
  if (previousCustomerId === customerId) return `${orgId} is ${customerId} of ${sink} already; nothing was changed.`;
  const before = previousCustomerId === null ? "" : `, and no longer ${previousCustomerId}, which keeps what was reported to it`;
  return `${orgId} is ${customerId} of ${sink}${before}; ${releasedBatches} batches that waited for it are due now.`;
}

/** `billing customer list`: what sinks call the organizations. */
export function customerList(options: { readonly sink?: string; readonly org?: string }): Action {
  return async ({ db, json, write }) => {
    const sink = options.sink === undefined ? undefined : parseChoice("--sink", options.sink, MAPPED_SINKS);
    if (options.org !== undefined) await requireKnownOrg(db, options.org);
    const customers = await readSinkCustomers(db, { sink, orgId: options.org });
    const text =
      customers.length === 0
        ? "Nobody is mapped; Autumn needs no mapping.\n"
        : columns(
            ["organization", "sink", "customer"],
            customers.map((one) => [one.orgId, one.sink, one.customerId]),
          );
    await write(json ? jsonDocument({ customers }) : text);
    return EXIT.done;
  };
}
