import { mark } from "@proliferate/runtime";
import { getOperatorStatus, nameResting, type OperatorStatus, recentRequestsFrom } from "@proliferate/services/reports";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseInstant } from "../instant.ts";
import { age, dollars, jsonDocument, table } from "../output.ts";

export interface StatusCommandOptions {
  readonly from?: string;
  readonly all?: boolean;
}

/** `billing status`: where every credit is, and whether source and ledger agree, over the requests of the last two days unless it is told otherwise. */
export function status(options: StatusCommandOptions): Action {
  return async ({ db, json, write }) => {
    const report = await getOperatorStatus(db, rangeOf(options));
    await write(json ? jsonDocument(report) : statusText(report));
    return report.problems.length === 0 ? EXIT.done : EXIT.problemFound;
  };
}

function rangeOf({ from, all }: StatusCommandOptions): { readonly from?: Date } {
  if (all) return {};
  return { from: from === undefined ? recentRequestsFrom() : parseInstant("--from", from) };
}

function statusText(report: OperatorStatus): string {
  const { completeness } = report;
  const waiting = completeness.unbilledRows - completeness.overdueRows;
  return table([
    [
      `Source against ledger, ${completeness.sourceRows} spend rows compared${completeness.from === null ? ", all there are" : ` of requests since ${completeness.from.toISOString()}; --all compares all`}`,
    ],
    ["spent", dollars(completeness.sourceUsd)],
    ["billed", dollars(completeness.billedUsd)],
    ["in review", `${dollars(completeness.reviewUsd)} in ${completeness.reviewRows} rows`],
    [
      "unbilled",
      `${dollars(completeness.unbilledUsd)}${completeness.unbilledRows === 0 ? "" : ` in ${completeness.unbilledRows} rows, ${waiting} of them younger than 10 min; oldest ${age(completeness.oldestUnbilledSeconds)}`}`,
    ],
    ["overbilled", dollars(completeness.overbilledUsd)],
    ["Credits on the way"],
    ["open", `${report.openCredits} in ${report.openEvents} events, ${report.carryCredits} carried`],
    ...Object.entries(report.batches).map(
      ([state, { batches, credits }]) => [state, `${credits} in ${batches} batches${whose(report, state)}`] as const,
    ),
    [
      "unposted",
      `${report.unpostedCredits} in all${report.oldestUnsettledSeconds === null ? "" : `, the oldest for ${age(report.oldestUnsettledSeconds)}`}`,
    ],
    ["needs reconcile", `${report.needsReconcile} batches`],
    [
      "needs review",
      Object.entries(report.reviews)
        .filter(([, rows]) => rows > 0)
        .map(([reason, rows]) => `${rows} ${reason}`)
        .join(", ") || "nothing",
    ],
    ["Balances"],
    [
      "organizations",
      `${report.balances.orgs}${Object.entries(report.balances.states)
        .map(([state, orgs]) => `, ${orgs} ${state}`)
        .join("")}`,
    ],
    ["drift in 24 h", `${report.balances.driftCredits} credits in ${report.balances.drifts} balances`],
    [
      "differs at the sink",
      Object.entries(report.findings)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(", ") || "nothing",
    ],
    [
      "waiting orgs",
      `${report.attention.waitingOrgs} after a failed attempt, ${report.attention.openCircuits} sinks away, ${report.attention.unconfirmedBatches} deliveries without an amount`,
    ],
    ["Lags"],
    ["newest spend row", age(report.newestSourceRowSeconds)],
    [
      "requests in flight",
      `${report.attemptsInFlight}${report.oldestAttemptSeconds === null ? "" : `, the oldest ${age(report.oldestAttemptSeconds)}`}`,
    ],
    [
      "low-water mark",
      report.lowWaterMark === null
        ? "none before the first sweep: delete no spend rows"
        : `${report.lowWaterMark.toISOString()}: spend rows that began before it may be deleted`,
    ],
    ...report.passes.map(({ job, ageMs }) => [job, `last success ${age(ageMs / 1_000)} ago`] as const),
    ["last delivery", report.lastDeliveredAt?.toISOString() ?? "–"],
    [report.problems.length === 0 ? mark.good("Nothing to do: every sum agrees.") : mark.bad("To be looked at")],
    ...report.problems.map(({ code, message }) => [code, message] as const),
  ]).trimStart();
}

/** Names the organizations whose credits rest in a state; those of a shortfall are lost, and it says so. */
function whose(report: OperatorStatus, state: string): string {
  const resting = report.resting.find((one) => one.state === state);
  if (resting === undefined || resting.state === "unknown") return "";
  const names = nameResting(report.resting, resting.state);
  return resting.state === "shortfall" ? `, of what was asked; not taken, and never collected: ${names}` : `: ${names}`;
}
