import type { OrgReport } from "@proliferate/services/reports";
import { compareDecimals } from "@proliferate/shared/money";
import { dollars, duration, table } from "../output.ts";
import { packLine, policyLine } from "./top-up-text.ts";

type Rows = Parameters<typeof table>[0];

/** `billing org show` for people. */
export function orgText(org: OrgReport): string {
  return table([
    [`Organization ${org.orgId}`],
    ["state", `${org.state}${org.stateSince === null ? "" : ` since ${org.stateSince.toISOString()}`}${stateReason(org)}`],
    [
      "balance",
      `${org.balanceCredits ?? "unknown"} credits by our books${org.reconciledAt === null ? ", the sink was never asked" : `, compared with the sink ${org.reconciledAt.toISOString()}`}`,
    ],
    ...(org.reconcileProblem === null ? [] : [["problem there", org.reconcileProblem] as const]),
    [
      "live sessions",
      `${org.liveSessions}, ${org.keys.live} live keys (${org.keys.blocked} blocked), ${dollars(org.keys.reservedUsd)} reserved in keys`,
    ],
    [
      "at the sink",
      [`autumn: ${org.autumnCustomerId}`, ...org.customers.map(({ sink, customerId }) => `${sink}: ${customerId}`)].join(", "),
    ],
    ...(org.payerId === org.orgId ? [] : [["payer", `${org.payerId} pays for its usage`] as const]),
    [
      "account",
      org.mode === "kept" ? "kept: what it uses stays on the ledger, and nothing is sent" : "settled: what it uses is sent to the sink",
    ],
    ...creditRows(org),
    ...settingRows(org),
    ["Top-up"],
    ["policy", org.topUpPolicy === null ? "none: no packs are bought by themselves" : policyLine(org.topUpPolicy)],
    ...org.openTopUps.map((pack) => ["open pack", packLine(pack)] as const),
    ["Differences"],
    [
      "last drift",
      org.drift === null
        ? "none"
        : `${org.drift.credits} credits: ${org.drift.cause} (${org.drift.severity}), ${org.drift.reconciledAt.toISOString()}`,
    ],
    ...org.reconciliations.map(
      (one) => [one.reconciledAt.toISOString(), `${one.beforeCredits ?? "unknown"} set to ${one.afterCredits}: ${one.cause}`] as const,
    ),
    ["at the sink", org.findings.length === 0 ? "nothing" : `${org.findings.length} deliveries differ`],
    ...org.findings.map(({ kind, message }) => [kind, message] as const),
    [
      "needs review",
      Object.entries(org.reviews)
        .map(([reason, rows]) => `${rows} ${reason}`)
        .join(", ") || "nothing",
    ],
  ]).trimStart();
}

function stateReason(org: OrgReport): string {
  if (org.state === "suspended") return org.suspendedReason === null ? "" : `: ${org.suspendedReason}`;
  if (org.state === "grace" && org.graceUntil !== null) return `, until ${org.graceUntil.toISOString()}`;
  return org.exhaustedBy === null ? "" : ` (${org.exhaustedBy})`;
}

function creditRows(org: OrgReport): Rows {
  const shortfall =
    compareDecimals(org.shortfallCredits, "0") > 0
      ? `${org.shortfallCredits}: used beyond a capped balance; on record, never collected`
      : org.shortfallCredits;
  return [
    ["Credits not yet taken"],
    ["unposted", `${org.unpostedCredits} in all`],
    ["open", `${org.openCredits} in no batch, ${org.carryCredits} carried`],
    ["on the way", org.movingCredits],
    ["parked", org.parkedCredits],
    ["dead", org.deadCredits],
    ["unapplied", org.unappliedCredits],
    ["shortfall", shortfall],
    ...(compareDecimals(org.keptCredits, "0") === 0 ? [] : [["kept", `${org.keptCredits}: on the ledger, never sent`] as const]),
  ];
}

function planText({ plan, subscribedPlanId, trialEndsAt }: NonNullable<OrgReport["settings"]>): string {
  if (subscribedPlanId === null) return `${plan}, set by hand`;
  return `${plan}, by its subscription to ${subscribedPlanId}${plan === "trial" && trialEndsAt !== null ? ` until ${trialEndsAt.toISOString()}` : ""}`;
}

function settingRows({ settings, creditsPerSpendUsd }: OrgReport): Rows {
  const rate = [
    "rate",
    creditsPerSpendUsd === null ? "not read yet" : `${creditsPerSpendUsd} credits for one USD of provider cost`,
  ] as const;
  if (settings === null) return [["Settings"], rate, ["gate", "never asked; the defaults apply"]];
  return [
    ["Settings"],
    rate,
    ["plan", planText(settings)],
    ["grace", `${duration(settings.graceMs)}, down to an overdraft of ${settings.overdraftCredits} credits`],
    [
      "to begin",
      `at least ${settings.minCredits} credits, ${settings.maxSessions === null ? "any number of" : `at most ${settings.maxSessions}`} sessions at once`,
    ],
    ["low balance", `told and settled sooner below ${settings.lowBalanceCredits} credits`],
  ];
}
