import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import {
  addDecimals,
  compareDecimals,
  type DecimalText,
  multiplyDecimals,
  normalizeDecimal,
  subtractDecimals,
} from "@proliferate/shared/money";
import { readActions } from "../operator/index.ts";
import {
  type ExplainedAttemptRow,
  type ExplainedBatchRow,
  type ExplainedEventRow,
  type ExplainedReviewRow,
  isInFlight,
  readAttempts,
  readBatch,
  readEventById,
  readEventByKey,
  readEventsOfRequest,
  readRetiredMonth,
  readReviews,
  readSourceRow,
  type SourceRow,
} from "./explain-db.ts";

const ACTIONS_SHOWN = 20;

/** An equation written out, computed again from its parts by exact integer arithmetic. */
interface Arithmetic {
  /** `0.000123 USD x 3 x 100 = 0.0369 credits` */
  readonly text: string;
  /** Whether what is stored is what comes out. False is a fault of the ledger. */
  readonly holds: boolean;
}

export interface ExplainedEvent extends ExplainedEventRow {
  /** Where the rate came from. */
  readonly rate: string;
  readonly arithmetic: Arithmetic;
}

export interface ExplainedBatch extends ExplainedBatchRow {
  /** The key that the next attempt uses, or the last one used. */
  readonly current_key: string;
  readonly arithmetic: Arithmetic;
  readonly attempts: readonly ExplainedAttemptRow[];
  /** What people did to it, the newest first. */
  readonly by_hand: readonly {
    readonly action: string;
    readonly operator: string;
    readonly reason: string | null;
    readonly acted_at: Date;
  }[];
  /** What the sink says it did to the org's balance; null while it said nothing. */
  readonly balance_effect: { readonly before: DecimalText; readonly deducted: DecimalText; readonly after: DecimalText } | null;
  /** One sentence: where the credits are and what happens next. */
  readonly verdict: string;
}

/** The whole chain behind a name: source row → events → batches. A part that does not exist (yet) is null or empty. */
export interface Explanation {
  readonly asked: string;
  readonly kind: "request" | "event" | "batch" | "review";
  readonly source: SourceRow | null;
  /** Every reason for which the request was set aside, closed ones too. */
  readonly reviews: readonly ExplainedReviewRow[];
  readonly events: readonly ExplainedEvent[];
  readonly batches: readonly ExplainedBatch[];
  /** One sentence: how far the chain goes and why it ends there. */
  readonly verdict: string;
}

/**
 * Finds what `id` names and follows it to its end: a request id, an event (its number or key, `llm:…`), a batch (its id or
 * key, `pb:…`), or a review (`id:…`, `row:…`). `request:`, `event:`, `batch:` before it says which is meant where two would
 * fit. Read only. Throws `billing_not_found` when nothing has that name, `invalid_request` when it names two things.
 */
export async function explainBilling(db: DatabaseExecutor, id: string): Promise<Explanation> {
  const asked = id.trim();
  if (asked === "" || asked.length > 1_100)
    throw new AppError("invalid_request", "The id must have 1 to 1100 characters.", { param: "id" });
  const [, prefix, rest = asked] = /^(request|event|batch):(.+)$/.exec(asked) ?? [];
  const wants = (kind: string): boolean => prefix === undefined || prefix === kind;
  const found = (
    await Promise.all([
      wants("batch") ? explainBatch(db, rest) : undefined,
      wants("event") ? explainEvent(db, rest) : undefined,
      wants("request") ? explainRequest(db, rest) : undefined,
    ])
  ).filter((one) => one !== undefined);
  const [only, second] = found;
  if (only === undefined) throw await notFound(db, rest);
  if (second !== undefined) {
    const names = found.map(({ kind }) => `${kind}:${rest}`).join(" or ");
    throw new AppError("invalid_request", `"${rest}" names a ${found.map(({ kind }) => kind).join(" and a ")}; ask for ${names}.`, {
      param: "id",
    });
  }
  return { ...only, asked };
}

type Found = Omit<Explanation, "asked">;

async function explainRequest(db: DatabaseExecutor, requestId: string): Promise<Found | undefined> {
  const [source, reviews, events, retiredMonth] = await Promise.all([
    readSourceRow(db, requestId),
    readReviews(db, requestId),
    readEventsOfRequest(db, requestId),
    readRetiredMonth(db, requestId),
  ]);
  if (source === undefined && reviews.length === 0 && events.length === 0 && retiredMonth === undefined) return undefined;
  const kind = source === undefined && events.length === 0 && retiredMonth === undefined ? "review" : "request";
  const found = await follow(db, { kind, source: source ?? null, reviews, events });
  return retiredMonth === undefined ? found : { ...found, verdict: retiredVerdict(retiredMonth, found) };
}

async function explainEvent(db: DatabaseExecutor, name: string): Promise<Found | undefined> {
  const isNumber = /^[1-9]\d{0,18}$/.test(name) && BigInt(name) <= 9_223_372_036_854_775_807n;
  const event = isNumber ? await readEventById(db, name) : /^[a-z]+:/.test(name) ? await readEventByKey(db, name) : undefined;
  if (event === undefined) return undefined;
  const [source, reviews] = await Promise.all([readSourceRow(db, event.request_id), readReviews(db, event.request_id)]);
  return follow(db, { kind: "event", source: source ?? null, reviews, events: [event] });
}

async function explainBatch(db: DatabaseExecutor, name: string): Promise<Found | undefined> {
  const row = await readBatch(db, name);
  if (row === undefined) return undefined;
  const batch = await batchOf(db, row);
  return { kind: "batch", source: null, reviews: [], events: [], batches: [batch], verdict: batch.verdict };
}

async function follow(
  db: DatabaseExecutor,
  chain: Pick<Found, "kind" | "source" | "reviews"> & { readonly events: readonly ExplainedEventRow[] },
): Promise<Found> {
  const batchIds = [...new Set(chain.events.flatMap((event) => event.batch_id ?? []))];
  const rows = await Promise.all(batchIds.map((batchId) => readBatch(db, batchId)));
  const batches = await Promise.all(rows.filter((row) => row !== undefined).map((row) => batchOf(db, row)));
  return { ...chain, events: chain.events.map(eventOf), batches, verdict: verdictOf(chain, batches) };
}

async function notFound(db: DatabaseExecutor, id: string): Promise<AppError> {
  if (await isInFlight(db, id))
    return new AppError("billing_not_found", `"${id}" is a request in flight: it has no spend row yet, and gets it when it ends.`);
  return new AppError("billing_not_found", `Nothing is billed under "${id}": no spend row, event, batch or review has that name.`);
}

function eventOf(row: ExplainedEventRow): ExplainedEvent {
  const product = multiplyDecimals(multiplyDecimals(row.spend_usd, row.markup), row.credits_per_usd);
  const holds = compareDecimals(product, row.credits) === 0;
  const text = `${row.spend_usd} USD x ${row.markup} x ${row.credits_per_usd} = ${product} credits${holds ? "" : `, but ${row.credits} is stored`}`;
  return { ...row, rate: rateOf(row), arithmetic: { text, holds } };
}

function rateOf(row: ExplainedEventRow): string {
  const factors = `markup ${row.markup}, ${row.credits_per_usd} credits for one USD`;
  if (row.rate_card_id === null) return `${factors}; no rate card was valid, the environment's rate`;
  const since =
    row.rate_valid_from === null || row.rate_valid_from.getTime() === 0 ? "for all time" : `since ${row.rate_valid_from.toISOString()}`;
  return `${factors}; rate card ${row.rate_card_id}, ${row.rate_card_org_id === null ? "the default" : `of ${row.rate_card_org_id}`}, valid ${since}`;
}

async function batchOf(db: DatabaseExecutor, row: ExplainedBatchRow): Promise<ExplainedBatch> {
  const [attempts, actions] = await Promise.all([
    readAttempts(db, row.batch_id),
    readActions(db, { subject: row.batch_id, limit: ACTIONS_SHOWN }),
  ]);
  const { balance_after: after, deducted_credits: deducted } = row;
  return {
    ...row,
    current_key: row.redrive_count === 0 ? row.idempotency_key : `${row.idempotency_key}.${row.redrive_count}`,
    arithmetic: batchArithmetic(row),
    attempts,
    by_hand: actions.map(({ action, operator, reason, acted_at }) => ({ action, operator, reason, acted_at })),
    balance_effect:
      after === null || deducted === null
        ? null
        : { before: addDecimals(after, deducted), deducted: normalizeDecimal(deducted), after: normalizeDecimal(after) },
    verdict: batchVerdict(row),
  };
}

/** Both sides of what was sealed, and the events as they stand now: an event that vanished afterwards shows here. */
function batchArithmetic(row: ExplainedBatchRow): Arithmetic {
  const sealed = compareDecimals(addDecimals(row.events_credits, row.carry_in), addDecimals(row.credits, row.carry_out)) === 0;
  const complete = row.found_events === row.event_count && compareDecimals(row.found_credits, row.events_credits) === 0;
  const text = `${row.events_credits} of ${row.event_count} events + ${row.carry_in} carried in = ${row.credits} to deduct + ${row.carry_out} carried out`;
  const difference = `, but its ${row.found_events} events on the ledger sum to ${row.found_credits} (${subtractDecimals(row.found_credits, row.events_credits)})`;
  return { text: complete ? text : text + difference, holds: sealed && complete };
}

function batchVerdict(row: ExplainedBatchRow): string {
  const error = row.last_error_code === null ? "" : ` (${row.last_error_code}${row.last_error === null ? "" : `: ${row.last_error}`})`;
  switch (row.state) {
    case "delivered": {
      if (row.deducted_credits === null)
        return `Delivered: the sink refused a repeat of key ${row.idempotency_key}, so an earlier attempt of ours was applied.`;
      if (compareDecimals(row.credits, "0") === 0) return "Delivered without a call: it rounded to nothing, and the rest is carried.";
      return `Delivered: the sink deducted ${row.deducted_credits} credits.`;
    }
    case "sealed":
      return `Pending: not sent yet, or certainly not taken; due at ${row.next_attempt_at.toISOString()}${error}.`;
    case "sending":
      return "Being sent now; if its worker died, another takes it over when the lease ends.";
    case "unknown":
      if (row.needs_reconcile)
        return `Unknown, and a repeat of its key would prove nothing${error}: run billing reconcile; it is never sent again blindly.`;
      return `Unknown: the sink may have taken it${error}; the same key is sent again at ${row.next_attempt_at.toISOString()}, which cannot deduct twice.`;
    case "shortfall":
      return `Taken in part: the balance ended after ${row.deducted_credits ?? "0"} of ${row.credits} credits, and this deployment caps.`;
    case "unapplied":
      return `Accepted, but not deducted in full: ${row.deducted_credits ?? "0"} of ${row.credits} credits${error}.`;
    case "parked":
      return `Parked until what the sink names is corrected${error}; tried again at ${row.next_attempt_at.toISOString()}, or at once by billing redrive.`;
    default:
      return `Dead: the sink refused it for good${error}. Correct the cause, then billing redrive.`;
  }
}

/** Its event is in a table of its own now; what the source said later stands in review, or was billed by a person. */
function retiredVerdict(month: string, found: Found): string {
  const billed = `Billed, and delivered; its event left the ledger with the month ${month}.`;
  const open = found.reviews.find((review) => review.reason === "retired_month" && review.resolved_at === null);
  if (open !== undefined) {
    const difference = open.spend_usd.startsWith("-") ? `${open.spend_usd.slice(1)} USD less` : `${open.spend_usd} USD more`;
    return `${billed} Since then the source says ${difference}: billing redrive ${open.review_key} --org ORG bills the difference, billing dismiss leaves it.`;
  }
  return found.events.length === 0 ? billed : `${billed} A later difference: ${found.verdict}`;
}

function verdictOf(
  chain: Pick<Found, "source" | "reviews"> & { readonly events: readonly ExplainedEventRow[] },
  batches: readonly ExplainedBatch[],
): string {
  const open = chain.reviews.find((review) => review.resolved_at === null);
  if (chain.events.length === 0) {
    if (open !== undefined)
      return `Not billed: it needs review (${open.reason}). Repair its source row, or give it its org with billing redrive.`;
    if (chain.reviews.some((review) => review.resolution === "dismissed"))
      return "Not billed: somebody looked at it and decided that there is nothing to bill.";
    if (chain.source === null) return "Not billed any more: its source row is gone; the review tells what it was.";
    return "Not billed yet: the next spend sync makes its event.";
  }
  if (chain.events.some((event) => event.batch_id === null && !event.is_kept))
    return "Billed to the ledger; the next outbox pass seals it into a batch.";
  const kept = chain.events.some((event) => event.is_kept)
    ? ["Kept: it is on the ledger, and is never sent, as its account was kept when it came."]
    : [];
  return [...kept, ...batches.map((batch) => batch.verdict)].join(" ");
}
