import type { OrgState } from "@proliferate/db";
import { requestFlush } from "@proliferate/services/settlement";
import { changeOrgSettings, type OrgSettings, resumeOrg, suspendOrg } from "@proliferate/services/billing-gate";
import { describeOrg, listOrgs, requireKnownOrg } from "@proliferate/services/reports";
import { AppError } from "@proliferate/shared/errors";
import type { Action, CommandContext, OperatorOptions } from "../command-context.ts";
import { EXIT, type ExitStatus } from "../exit-status.ts";
import { parseChoice, parseDurationMs, parseLimit, parseWhole } from "../option-values.ts";
import { columns, jsonDocument } from "../output.ts";
import { orgText } from "./org-text.ts";

const STATES = ["unconfigured", "trial", "active", "grace", "exhausted", "suspended"] as const satisfies readonly OrgState[];

export interface OrgListOptions {
  readonly state?: string;
  readonly limit?: string;
  readonly after?: string;
}

/** `billing org list`: where each organization stands. */
export function orgList(options: OrgListOptions): Action {
  return async ({ db, json, write }) => {
    const state = options.state === undefined ? undefined : parseChoice("--state", options.state, STATES);
    const page = await listOrgs(db, {
      state,
      cursor: options.after,
      limit: options.limit === undefined ? undefined : parseLimit("--limit", options.limit),
    });
    await write(
      json
        ? jsonDocument(page)
        : columns(
            ["organization", "state", "balance", "unposted", "parked", "dead", "shortfall", "last drift", "sessions"],
            page.orgs.map((org) => [
              org.orgId,
              org.state,
              org.balanceCredits ?? "unknown",
              org.unpostedCredits,
              org.parkedCredits,
              org.deadCredits,
              org.shortfallCredits,
              org.drift === null ? "none" : `${org.drift.credits} (${org.drift.cause})`,
              String(org.liveSessions),
            ]),
          ) + (page.nextCursor === null ? "" : `More: --after ${page.nextCursor}\n`),
    );
    return EXIT.done;
  };
}

/** `billing org show <org>`. */
export function orgShow(orgId: string): Action {
  return async (context) => show(context, orgId);
}

/** `billing org suspend <org> --reason`: refuses it everything; its keys are blocked by the worker's next tick. */
export function orgSuspend(orgId: string, options: OperatorOptions & { readonly create?: boolean }): Action {
  return async (context) => {
    const operator = context.operator(options);
    if (operator.reason === undefined)
      throw new AppError("invalid_request", "The reason is missing: --reason TEXT. Whoever is refused is told it.", { param: "--reason" });
    if (!options.create) await requireKnownOrg(context.db, orgId);
    await suspendOrg(context.db, orgId, operator.reason, operator);
    return show(context, orgId);
  };
}

/** `billing org resume <org>`: ends a suspension; the balance decides what follows. */
export function orgResume(orgId: string, options: OperatorOptions): Action {
  return async (context) => {
    const operator = context.operator(options);
    await requireKnownOrg(context.db, orgId);
    await resumeOrg(context.db, orgId, operator);
    return show(context, orgId);
  };
}

export interface OrgSetOptions extends OperatorOptions {
  readonly mode?: string;
  readonly plan?: string;
  readonly grace?: string;
  readonly overdraft?: string;
  readonly minCredits?: string;
  readonly maxSessions?: string;
  readonly lowBalance?: string;
  readonly create?: boolean;
}

/** `billing org set <org>`: changes what is given, leaves the rest. */
export function orgSet(orgId: string, options: OrgSetOptions): Action {
  return async (context) => {
    const settings = settingsOf(options);
    if (Object.keys(settings).length === 0)
      throw new AppError(
        "invalid_request",
        "Nothing is to be set: give --mode, --plan, --grace, --overdraft, --min-credits, --max-sessions or --low-balance.",
      );
    const operator = context.operator(options);
    if (!options.create) await requireKnownOrg(context.db, orgId);
    await changeOrgSettings(context.db, orgId, settings, operator);
    return show(context, orgId);
  };
}

function settingsOf(options: OrgSetOptions): OrgSettings {
  return {
    ...(options.mode !== undefined && { mode: parseChoice("--mode", options.mode, ["settled", "kept"]) }),
    ...(options.plan !== undefined && { plan: parseChoice("--plan", options.plan, ["paid", "trial"]) }),
    ...(options.grace !== undefined && { graceMs: parseDurationMs("--grace", options.grace) }),
    ...(options.overdraft !== undefined && { overdraftCredits: options.overdraft }),
    ...(options.minCredits !== undefined && { minCredits: options.minCredits }),
    ...(options.maxSessions !== undefined && {
      maxSessions: options.maxSessions === "none" ? null : parseWhole("--max-sessions", options.maxSessions),
    }),
    ...(options.lowBalance !== undefined && { lowBalanceCredits: options.lowBalance }),
  };
}

/** `billing org flush <org>`: the worker settles its usage within about a second, ahead of the pass. */
export function orgFlush(orgId: string): Action {
  return async ({ db, json, write }) => {
    await requireKnownOrg(db, orgId);
    await requestFlush(db, orgId);
    await write(json ? jsonDocument({ orgId, requested: true }) : `The worker is asked to settle the usage of ${orgId} at once.\n`);
    return EXIT.done;
  };
}

async function show({ db, json, write }: CommandContext, orgId: string): Promise<ExitStatus> {
  const org = await describeOrg(db, orgId);
  await write(json ? jsonDocument(org) : orgText(org));
  return EXIT.done;
}
