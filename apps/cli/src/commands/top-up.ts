import { requireKnownOrg } from "@proliferate/services/reports";
import {
  listPacks,
  readTopUpPolicy,
  removeTopUpPolicy,
  resetTopUpBreaker,
  settlePack,
  setTopUpPolicy,
  type TopUpPolicy,
} from "@proliferate/services/top-up";
import { AppError } from "@proliferate/shared/errors";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseChoice, parseDurationMs, parseLimit, parseWhole } from "../option-values.ts";
import { jsonDocument } from "../output.ts";
import { packLine, policyLine } from "./top-up-text.ts";

const PACK_STATES = ["charging", "unknown", "paid", "declined", "needs_review"] as const;
const SHOWN_PACKS = 5;

/** `billing top-up show <org>`: its policy and its last packs. */
export function topUpShow(orgId: string): Action {
  return async ({ db, json, write }) => {
    await requireKnownOrg(db, orgId);
    const [policy, packs] = await Promise.all([readTopUpPolicy(db, orgId), listPacks(db, { orgId, limit: SHOWN_PACKS })]);
    const report = { orgId, policy: policy ?? null, packs };
    const text = `${orgId}: ${report.policy === null ? "no policy; no packs are bought by themselves" : policyLine(report.policy)}\n`;
    await write(json ? jsonDocument(report) : text + report.packs.map((pack) => `  ${packLine(pack)}\n`).join(""));
    return EXIT.done;
  };
}

export interface TopUpSetOptions extends OperatorOptions {
  readonly plan: string;
  readonly credits: string;
  readonly threshold?: string;
  readonly maxPerMonth?: string;
  readonly minInterval?: string;
  readonly disabled?: boolean;
  readonly create?: boolean;
}

/** `billing top-up set <org>`: the policy as a whole; what is left out has its default. */
export function topUpSet(orgId: string, options: TopUpSetOptions): Action {
  return async ({ db, json, operator, write }) => {
    const policy: TopUpPolicy = {
      enabled: !(options.disabled ?? false),
      planId: options.plan,
      packCredits: options.credits,
      ...(options.threshold !== undefined && { thresholdCredits: options.threshold }),
      ...(options.maxPerMonth !== undefined && { maxPacksPerMonth: parseWhole("--max-per-month", options.maxPerMonth) }),
      ...(options.minInterval !== undefined && { minIntervalMs: parseDurationMs("--min-interval", options.minInterval) }),
    };
    const who = operator(options);
    if (!options.create) await requireKnownOrg(db, orgId);
    const view = await setTopUpPolicy(db, orgId, policy, who);
    await write(json ? jsonDocument(view) : `${orgId}: ${policyLine(view)}\n`);
    return EXIT.done;
  };
}

/** `billing top-up remove <org>`. Repeating it is safe. */
export function topUpRemove(orgId: string, options: OperatorOptions): Action {
  return async ({ db, json, operator, write }) => {
    const who = operator(options);
    await requireKnownOrg(db, orgId);
    const removed = await removeTopUpPolicy(db, orgId, who);
    const message = removed
      ? `The policy of ${orgId} is removed; no packs are bought by themselves.`
      : `${orgId} has no policy; nothing was changed.`;
    await write(json ? jsonDocument({ orgId, removed, message }) : `${message}\n`);
    return EXIT.done;
  };
}

/** `billing top-up reset-breaker <org>`: after the card was replaced. Repeating it is safe. */
export function topUpResetBreaker(orgId: string, options: OperatorOptions): Action {
  return async ({ db, json, operator, write }) => {
    const who = operator(options);
    await requireKnownOrg(db, orgId);
    const reset = await resetTopUpBreaker(db, orgId, who);
    const message = reset
      ? `The breaker of ${orgId} is closed; a pack is tried at the worker's next tick if its balance calls for one.`
      : `No breaker of ${orgId} is open; nothing was changed.`;
    await write(json ? jsonDocument({ orgId, reset, message }) : `${message}\n`);
    return EXIT.done;
  };
}

export interface TopUpListOptions {
  readonly org?: string;
  readonly state?: string;
  readonly limit?: string;
}

/** `billing top-up list`: packs, newest first. */
export function topUpList(options: TopUpListOptions): Action {
  return async ({ db, json, write }) => {
    const states = options.state === undefined ? undefined : [parseChoice("--state", options.state, PACK_STATES)];
    const limit = options.limit === undefined ? 50 : parseLimit("--limit", options.limit);
    if (options.org !== undefined) await requireKnownOrg(db, options.org);
    const packs = await listPacks(db, { orgId: options.org, states, limit });
    await write(
      json ? jsonDocument({ topUps: packs }) : packs.length === 0 ? "No packs.\n" : packs.map((pack) => `${packLine(pack)}\n`).join(""),
    );
    return EXIT.done;
  };
}

/** `billing top-up settle <pack> --bought|--not-bought --reason`: of a pack that nobody knows the fate of. */
export function topUpSettle(
  topUpId: string,
  options: OperatorOptions & { readonly bought?: boolean; readonly notBought?: boolean },
): Action {
  return async ({ db, json, operator, write }) => {
    if (options.bought === options.notBought) throw new AppError("invalid_request", "Say what the sink shows: --bought or --not-bought.");
    const result = await settlePack(db, topUpId, { bought: options.bought ?? false, operator: operator(options) });
    await write(json ? jsonDocument(result) : `${result.message}\n`);
    return EXIT.done;
  };
}
