import type { AutumnFault, TransportFault } from "./faults.ts";
import { AutumnError, type WireAnswer } from "./wire.ts";

/** An answer, and what becomes of it on its way. */
export interface Sending {
  readonly answer: WireAnswer;
  readonly how?: TransportFault;
}

const NOTHING: WireAnswer = { status: 200, body: {} };

/** What a fault makes of a call before anything is done for it; undefined: that is done. */
export function beforeWork(fault: AutumnFault | undefined): Sending | undefined {
  if (fault?.kind === "status")
    throw new AutumnError(fault.status, fault.code ?? "internal_error", fault.message ?? "Scripted failure.", fault.retryAfterSeconds);
  if (fault?.kind === "page") return { answer: NOTHING, how: fault };
  if (fault?.kind === "reset_before_apply") return { answer: NOTHING, how: { kind: "reset" } };
  if (fault?.kind === "hang" && !fault.applied) return { answer: NOTHING, how: { kind: "silent" } };
  return undefined;
}

/** What a fault makes of the answer to a call that was worked on. */
export function afterWork(fault: AutumnFault | undefined, answer: WireAnswer): Sending {
  if (fault?.kind === "status_after_apply") throw new AutumnError(fault.status, "internal_error", "Scripted failure after the work.");
  if (fault?.kind === "reset_after_apply") return { answer, how: { kind: "reset" } };
  if (fault?.kind === "hang") return { answer, how: { kind: "silent" } };
  if (fault?.kind === "transport") return { answer, how: fault.how };
  if (fault?.kind === "no_content") return { answer: { status: 204, body: undefined } };
  return { answer };
}
