import { explainBilling, type ExplainedBatch, type ExplainedEvent, type Explanation } from "@proliferate/services/reports";
import type { Action } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument, table } from "../output.ts";

/** `billing explain <id>`: the whole chain behind a request, event, batch or review. */
export function explain(id: string): Action {
  return async ({ db, json, write }) => {
    const chain = await explainBilling(db, id);
    await write(json ? jsonDocument(chain) : explanationText(chain));
    const holds = [...chain.events, ...chain.batches].every(({ arithmetic }) => arithmetic.holds);
    return holds ? EXIT.done : EXIT.problemFound;
  };
}

type Rows = readonly (readonly [string, string] | readonly [string])[];

function explanationText(chain: Explanation): string {
  const rows: Rows = [
    ...sourceRows(chain),
    ...chain.reviews.flatMap((review): Rows => [
      [`Review ${review.review_key}`],
      ["reason", review.reason],
      ["amount as written", review.spend_usd],
      [
        "state",
        review.resolved_at === null
          ? `open since ${review.first_seen_at.toISOString()}`
          : `${review.resolution ?? "closed"} at ${review.resolved_at.toISOString()}`,
      ],
    ]),
    ...chain.events.flatMap(eventRows),
    ...chain.batches.flatMap(batchRows),
    ["Verdict"],
    [chain.kind, chain.verdict],
  ];
  return table(rows).trimStart();
}

function sourceRows({ source, kind }: Explanation): Rows {
  if (source === null)
    return kind === "batch" ? [] : [["Spend row"], ["gone", "the source no longer has it; the ledger keeps what was billed"]];
  return [
    [`Spend row ${source.request_id}`],
    [
      "request",
      `${source.call_type}, ${source.status ?? "no status"}, ${source.started_at.toISOString()} to ${source.ended_at.toISOString()}`,
    ],
    ["model", `${source.model}${source.provider ? ` at ${source.provider}` : ""}`],
    ["owner", `org ${source.team_id || "–"}, session ${source.user_id || "–"}, key ${source.key_hash.slice(0, 12) || "–"}`],
    ["tokens", `${source.prompt_tokens} in, ${source.completion_tokens} out`],
    ["spend", `$${source.spend}`],
  ];
}

function eventRows(event: ExplainedEvent): Rows {
  return [
    [`Event ${event.event_id} (${event.idempotency_key})`],
    ["type", `${event.event_type}, recorded ${event.recorded_at.toISOString()}`],
    ["rate, frozen", event.rate],
    ["arithmetic", `${event.arithmetic.text}${event.arithmetic.holds ? "" : "   WRONG"}`],
    ["batch", event.batch_id ?? "none yet"],
  ];
}

function batchRows(batch: ExplainedBatch): Rows {
  const effect = batch.balance_effect;
  return [
    [`Batch ${batch.batch_id} (number ${batch.sequence} of ${batch.org_id})`],
    ["state", `${batch.state}${batch.needs_reconcile ? ", needs reconcile" : ""}, sealed ${batch.sealed_at.toISOString()}`],
    ["arithmetic", `${batch.arithmetic.text}${batch.arithmetic.holds ? "" : "   WRONG"}`],
    ["key at the sink", batch.current_key],
    ...batch.attempts.map((attempt) => {
      const code = [attempt.status, attempt.error_code].filter((part) => part !== null).join(" ");
      const took = attempt.finished_at === null ? "" : ` after ${attempt.finished_at.getTime() - attempt.started_at.getTime()} ms`;
      return [
        `attempt ${attempt.attempt}`,
        `${attempt.started_at.toISOString()}: ${attempt.outcome ?? "no answer recorded"}${code === "" ? "" : ` (${code})`}${took}`,
      ] as const;
    }),
    ...batch.by_hand.map(
      ({ action, operator, reason, acted_at: actedAt }) =>
        [
          `${action === "batch.decided" ? "decided" : "redriven"} by hand`,
          `${actedAt.toISOString()} by ${operator}${reason === null ? "" : `: ${reason}`}`,
        ] as const,
    ),
    ["the sink's answer", batch.deducted_credits === null ? "none that states an amount" : `${batch.deducted_credits} credits deducted`],
    ["balance", effect === null ? "not stated" : `${effect.before} - ${effect.deducted} = ${effect.after} credits`],
  ];
}
