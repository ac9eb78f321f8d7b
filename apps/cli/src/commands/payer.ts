import { type ChangedPayer, listPayers, setPayer, unsetPayer } from "@proliferate/services/payers";
import { requireKnownOrg } from "@proliferate/services/reports";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseLimit } from "../option-values.ts";
import { columns, jsonDocument } from "../output.ts";

/** `billing payer set <team> <org>`: who is billed for the team's usage from now on. Repeating it is safe. */
export function payerSet(teamId: string, orgId: string, options: OperatorOptions & { readonly create?: boolean }): Action {
  return async ({ db, json, operator, write }) => {
    const who = operator(options);
    if (!options.create) await requireKnownOrg(db, orgId);
    const result = await setPayer(db, teamId, orgId, who);
    await write(json ? jsonDocument(result) : `${messageOf(result)}\n`);
    return EXIT.done;
  };
}

/** `billing payer unset <team>`: it pays for itself again. Repeating it is safe. */
export function payerUnset(teamId: string, options: OperatorOptions): Action {
  return async ({ db, json, operator, write }) => {
    const result = await unsetPayer(db, teamId, operator(options));
    await write(json ? jsonDocument(result) : `${messageOf(result)}\n`);
    return EXIT.done;
  };
}

function messageOf({ teamId, orgId, previousOrgId }: ChangedPayer): string {
  const who = orgId === teamId ? `${teamId} pays for itself` : `${orgId} pays for ${teamId}`;
  return previousOrgId === orgId
    ? `${who} already; nothing was changed.`
    : `${who} from now on, and no longer ${previousOrgId}; what is on the ledger stays where it is.`;
}

export interface PayerListOptions {
  readonly org?: string;
  readonly limit?: string;
  readonly after?: string;
}

/** `billing payer list`: teams that another organization pays for. */
export function payerList(options: PayerListOptions): Action {
  return async ({ db, json, write }) => {
    const page = await listPayers(db, {
      orgId: options.org,
      cursor: options.after,
      limit: options.limit === undefined ? undefined : parseLimit("--limit", options.limit),
    });
    const rows = page.payers.map((one) => [one.teamId, one.orgId, one.since.toISOString()]);
    const text =
      rows.length === 0
        ? "Every team pays for itself.\n"
        : columns(["team", "payer", "since"], rows) + (page.nextCursor === null ? "" : `More: --after ${page.nextCursor}\n`);
    await write(json ? jsonDocument(page) : text);
    return EXIT.done;
  };
}
