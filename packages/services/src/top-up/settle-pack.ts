import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { normalizeDecimal } from "@proliferate/shared/money";
import { writeReconcileWanted } from "../balance/index.ts";
import { type Operator, recordAction, requireReason } from "../operator/index.ts";
import { insertWebhookEvent } from "../webhook-events/index.ts";
import { lockPack, type TopUpRow, writeSettledPack } from "./db.ts";
import { describePack, type PackView } from "./policy.ts";

/** What became of a pack that a person decided. */
interface SettledPack {
  /** False where it was settled so already. */
  readonly settled: boolean;
  readonly pack: PackView;
  readonly message: string;
}

/**
 * Ends a pack of which nobody knows whether it was paid, on the word of a person who looked at the sink. Bought: its credits come
 * in with the balance, which is asked for again; nothing is added here. Not bought: it does not count, and the org may buy again
 * (its breaker stays as it is). Kept with the person's name and reason. Repeating it changes nothing. Throws `top_up_not_found`,
 * `invalid_request` without a reason, and `decision_refused` for a pack that is not in `needs_review`.
 */
export async function settlePack(
  db: DatabaseClient,
  topUpId: string,
  decision: { readonly bought: boolean; readonly operator: Operator },
): Promise<SettledPack> {
  const reason = requireReason(decision.operator);
  const state = decision.bought ? "paid" : "declined";
  return db.transaction().execute(async (tx) => {
    const row = await lockPack(tx, topUpId);
    if (row === undefined) throw new AppError("top_up_not_found", `There is no pack "${topUpId}".`);
    if (row.state === state)
      return {
        settled: false,
        pack: describePack(row),
        message: `Pack ${row.top_up_id} of ${row.org_id} is ${state} already; nothing was changed.`,
      };
    if (row.state !== "needs_review") throw new AppError("decision_refused", refusal(row));
    await writeSettledPack(tx, row.top_up_id, state);
    if (decision.bought) await writeReconcileWanted(tx, row.org_id);
    const credits = normalizeDecimal(row.credits);
    await insertWebhookEvent(tx, {
      type: `top_up.${state}`,
      orgId: row.org_id,
      key: `top_up.${state}:${row.top_up_id}`,
      payload: { top_up_id: row.top_up_id, credits, code: "settled_by_hand" },
    });
    await recordAction(tx, {
      action: "top_up.settled",
      subject: row.top_up_id,
      orgId: row.org_id,
      operator: { ...decision.operator, reason },
      facts: { bought: decision.bought, credits },
    });
    const settled = describePack((await lockPack(tx, row.top_up_id)) as TopUpRow);
    const next = decision.bought
      ? "its credits come in with the next reading of the balance"
      : "it does not count, and the organization may buy again";
    return { settled: true, pack: settled, message: `Pack ${row.top_up_id} of ${row.org_id}, ${credits} credits, is ${state}; ${next}.` };
  });
}

function refusal(row: TopUpRow): string {
  if (row.state === "charging" || row.state === "unknown")
    return `Pack ${row.top_up_id} is ${row.state}: it is asked for again by itself, under the same key. A person decides when the sink has forgotten that key (needs_review).`;
  return `Pack ${row.top_up_id} is ${row.state}: that is certain, and stays.`;
}
