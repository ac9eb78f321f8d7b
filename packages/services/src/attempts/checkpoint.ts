import type { Usage } from "../metering/usage.ts";

/** What is known of an answer while it runs; kept on the attempt about once a second, so that a crash forgets no more than that. */
export interface AttemptCheckpoint {
  readonly usage: Usage;
  /** The provider's own id of the answer. Never our identity: providers recycle ids. */
  readonly providerResponseId: string | null;
  /** When the first bytes of the answer came, ISO 8601. */
  readonly firstByteAt: string | null;
}
