import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { insertAction } from "./db.ts";

/** Who acts by hand, and why. */
export interface Operator {
  /** In their own words: a person answers for the action. 1 to 200 characters. */
  readonly name: string;
  /** `cli`, or which token at the gateway. Never the token. */
  readonly via: string;
  readonly reason?: string | undefined;
}

/** What was done by hand. The part before the point is what it was done to. */
type OperatorAction =
  | "org.suspended"
  | "org.resumed"
  | "org.settings_changed"
  | "org.customer_mapped"
  | "team.payer_set"
  | "team.payer_unset"
  | "top_up.policy_set"
  | "top_up.policy_removed"
  | "top_up.breaker_reset"
  | "top_up.settled"
  | "batch.decided"
  | "batch.redriven"
  | "review.billed"
  | "review.dismissed"
  | "key.mapped"
  | "month.retired"
  | "rate_card.added"
  | "row.repriced"
  | "alert.cleared";

const MAX_NAME_LENGTH = 200;
const MAX_REASON_LENGTH = 1_000;

/**
 * Puts an action on record, in the transaction of the change. Throws `invalid_request` where the name or the reason is no
 * text of their length; then nothing of the transaction happens.
 */
export async function recordAction(
  tx: DatabaseExecutor,
  action: {
    readonly action: OperatorAction;
    readonly subject: string;
    readonly orgId?: string | null;
    readonly operator: Operator;
    readonly facts?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  const { name, via, reason } = action.operator;
  checkText("by", name, MAX_NAME_LENGTH);
  if (reason !== undefined) checkText("reason", reason, MAX_REASON_LENGTH);
  await insertAction(tx, {
    action: action.action,
    subject: action.subject,
    orgId: action.orgId ?? null,
    operator: name.trim(),
    via,
    reason: reason?.trim() ?? null,
    facts: action.facts ?? {},
  });
}

/** What moves money on a person's word alone needs the reason. Throws `invalid_request` without one. */
export function requireReason({ reason }: Operator): string {
  if (reason === undefined || reason.trim() === "")
    throw new AppError("invalid_request", "The reason is missing: what was looked at, and what it showed.", { param: "reason" });
  return reason.trim();
}

function checkText(param: string, text: string, maxLength: number): void {
  if (text.trim() !== "" && text.length <= maxLength && !/\p{Cc}/u.test(text)) return;
  throw new AppError("invalid_request", `${param} must be a text of 1 to ${maxLength} characters in one line.`, { param });
}
