import type { ReconcileReport } from "@proliferate/services/balance";
import type { DeliveryFinding } from "@proliferate/services/comparison";
import { compareWithSink, type SinkComparison } from "@proliferate/services/reports";
import type { Action } from "../command-context.ts";
import { parseReconcileSettings } from "../env.ts";
import { EXIT, type ExitStatus } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

export interface ReconcileCommandOptions {
  readonly org?: string;
  readonly dryRun?: boolean;
  readonly applyCorrections?: boolean;
}

/**
 * `billing reconcile`: deliveries first, because a balance is judged by what is known to be taken; then balances. Corrections
 * at the sink move money, so they are proposed unless they are asked for.
 */
export function reconcile(options: ReconcileCommandOptions): Action {
  return async ({ db, json, environment, write }) => {
    const { sinks, markup } = parseReconcileSettings(environment);
    const report = await compareWithSink(db, {
      sinks,
      markup,
      orgId: options.org,
      dryRun: options.dryRun ?? false,
      applyCorrections: options.applyCorrections ?? false,
    });
    await write(json ? jsonDocument(report) : reportText(report));
    return statusOf(report.deliveries?.findings ?? [], report.balances);
  };
}

function statusOf(findings: readonly DeliveryFinding[], balances: readonly ReconcileReport[]): ExitStatus {
  if (balances.some((report) => report.outcome === "failed")) return EXIT.failed;
  const drifted = balances.some(
    (report) => report.outcome === "reconciled" && (report.severity === "warn" || report.severity === "critical"),
  );
  return drifted || findings.some((finding) => finding.correction !== "applied") ? EXIT.problemFound : EXIT.done;
}

function reportText({ dryRun, deliveries, balances }: SinkComparison): string {
  const would = dryRun ? "would be " : "";
  return [
    ...(dryRun ? ["Dry run: nothing is changed."] : []),
    deliveries === null
      ? "Deliveries are not compared: this sink tells nothing of what it took."
      : `${deliveries.comparedBatches} batches compared with the sink: ${deliveries.confirmed} ${would}confirmed, ${deliveries.redriven} ${would}sent again, ${deliveries.findings.length} differ`,
    ...(deliveries?.findings ?? []).map(findingLine),
    `${balances.length} balances compared with the sink`,
    ...balances.map((report) => balanceLine(report, would)),
    "",
  ].join("\n");
}

function findingLine({ orgId, batchId, kind, message, correctionCredits, correction }: DeliveryFinding): string {
  const action =
    correctionCredits === null
      ? "a person must decide"
      : correction === null
        ? `proposed correction ${correctionCredits} credits (--apply-corrections)`
        : `correction of ${correctionCredits} credits ${correction}`;
  return `  ${kind}  ${orgId}  batch ${batchId}: ${message}; ${action}`;
}

/** What to say where a reading did not become a balance. */
const NOT_RECONCILED = { failed: "not read", unknown: "no balance there", outdated: "not booked", kept: "not asked for" } as const;

function balanceLine(report: ReconcileReport, would: string): string {
  if (report.outcome !== "reconciled") return `  ${report.orgId}: ${NOT_RECONCILED[report.outcome]}, ${report.problem}`;
  const { orgId, remoteCredits, unpostedCredits, beforeCredits, afterCredits, cause, driftCredits, severity } = report;
  const change = cause === "agrees" ? `${afterCredits} agrees` : `${beforeCredits ?? "unknown"} ${would}set to ${afterCredits}: ${cause}`;
  const drift = severity === "none" ? "" : `, drift ${driftCredits} (${severity})`;
  return `  ${orgId}: sink ${remoteCredits} - unposted ${unpostedCredits}; ${change}${drift}`;
}
