import { reportOf, type UsageReport } from "../metering/usage-report.ts";
import { NO_USAGE, type Usage } from "../metering/usage.ts";

/** What is known of an answer while it runs; kept on the attempt about once a second, so that a crash forgets no more than that. */
export interface AttemptCheckpoint {
  /** The totals; all that an older process wrote. */
  readonly usage: Partial<Usage>;
  readonly report?: UsageReport;
  /** The provider's own counts of the whole answer. */
  readonly isFinal?: boolean;
  /** The provider's own id of the answer. Never our identity: providers recycle ids. */
  readonly providerResponseId: string | null;
  /** When the first bytes of the answer came, ISO 8601. */
  readonly firstByteAt: string | null;
}

/** The report of a checkpoint of any age. */
export function reportOfCheckpoint(checkpoint: AttemptCheckpoint): UsageReport {
  return checkpoint.report ?? reportOf({ ...NO_USAGE, ...checkpoint.usage });
}
