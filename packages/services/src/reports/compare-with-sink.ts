import type { DatabaseClient } from "@proliferate/db";
import { CREDITS_PER_USD } from "@proliferate/shared/money";
import { createAutumnBalances, reconcileBalances, type ReconcileReport } from "../balance/index.ts";
import { reconcileDeliveries, type ReconcileDeliveriesResult } from "../comparison/index.ts";
import { createSinkFromSettings, type SinkSettings } from "../sinks/index.ts";
import { requireKnownOrg } from "./org-report.ts";

/** What is compared with the sink, and whether anything may be changed. */
interface CompareWithSinkOptions {
  /** Which sink is asked, with its secret. */
  readonly sinks: SinkSettings;
  /** Of orgs that no rate card covers. */
  readonly markup: string;
  /** Reads, compares and reports; changes nothing, here or there. */
  readonly dryRun: boolean;
  /** Deducts or gives back at the sink what the findings say. It moves money, so it is asked for; nothing in a dry run. */
  readonly applyCorrections: boolean;
  /** One org; default all. */
  readonly orgId?: string | undefined;
}

/** What was found, and done. A dry run does nothing. */
export interface SinkComparison {
  readonly dryRun: boolean;
  /** Null where the sink tells nothing of what it took. */
  readonly deliveries: ReconcileDeliveriesResult | null;
  /** Empty where no sink with balances is set up. */
  readonly balances: readonly ReconcileReport[];
}

/**
 * Compares our books with the sink's: deliveries first, because a balance is judged by what is known to be taken, then balances.
 * Decides what the sink's record decides, and sets our balances to what the sink's justify. May be repeated at any time. Throws
 * `org_not_found`; what the sink does is part of the report.
 */
export async function compareWithSink(db: DatabaseClient, options: CompareWithSinkOptions): Promise<SinkComparison> {
  const { sinks, markup, dryRun, orgId } = options;
  if (orgId !== undefined) await requireKnownOrg(db, orgId);
  const { ledger } = createSinkFromSettings(db, { ...sinks, shadow: undefined });
  const deliveries =
    ledger === undefined
      ? null
      : await reconcileDeliveries(db, ledger, { dryRun, orgId, corrections: options.applyCorrections ? "apply" : "propose" });
  const remote = sinks.autumn && createAutumnBalances(sinks.autumn);
  const rate = { markup, creditsPerUsd: CREDITS_PER_USD };
  const balances = remote ? await reconcileBalances(db, { remote, rate, dryRun, ...(orgId === undefined ? {} : { orgId }) }) : [];
  return { dryRun, deliveries, balances };
}
