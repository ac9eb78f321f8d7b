/** SQL on a spend row `s` and its owner `o`, shared by the statements that bill, quarantine and audit: what a row is worth, and whose it is. */
import { currentHashOf } from "@proliferate/access/keys";
import { joinPayer } from "@proliferate/access/principals";
import { type RawBuilder, sql } from "kysely";

/** As long as Autumn takes a customer's id, in bytes; far beyond it a row could not be indexed and would fail its whole statement. */
const MAX_ORG_ID_BYTES = 1_000;
const MAX_REQUEST_ID_LENGTH = 1_000;
/** No request costs this much: the writer erred. Infinity is above it, and so is NaN, by PostgreSQL's order. */
const MAX_SPEND_USD = 1_000_000;

/** A row whose id ends so corrects the row whose id stands before it; our engine writes them. */
const CORRECTION_SUFFIX = ":correction";

/** Of a spend row `s`: true when it corrects another row. */
export const IS_CORRECTION: RawBuilder<boolean> = sql`s.request_id like ${sql.lit(`%${CORRECTION_SUFFIX}`)}`;
/** Of a correction: the id of what it corrects. */
export const CORRECTED_REQUEST_ID: RawBuilder<string> = sql`left(s.request_id, ${sql.lit(-CORRECTION_SUFFIX.length)})`;

/**
 * Of a correction `s`: true when what it names was billed for another key. Who may choose the ids of its rows (a header does, at stock
 * LiteLLM) could otherwise have its own use charged to whoever made that request.
 */
export const IS_OF_ANOTHER_KEY: RawBuilder<boolean> = sql`exists (select from billing_event_keys k
  cross join lateral (select e.key_hash from billing_events e where e.org_id = k.org_id and e.event_id = k.event_id and e.recorded_at = k.recorded_at limit 1) e
  where k.idempotency_key = 'llm:' || ${CORRECTED_REQUEST_ID} and e.key_hash is distinct from nullif(s.api_key, ''))`;

/**
 * Join of the owner as `o.org_id`: who pays for the row's team. Where it names none, the team is whose key it is by LiteLLM, by our
 * sessions, or by what a person told (`key_owners`); these look-ups run only for such rows. It says who is billed for a row that has no event yet; of one
 * that has, the event does.
 */
export const JOIN_OWNER: RawBuilder<unknown> = sql`cross join lateral (select case when s.team_id <> '' then s.team_id else coalesce(
  (select nullif(t.team_id, '') from "LiteLLM_VerificationToken" t where t.token = ${currentHashOf(sql`s.api_key`)}),
  (select g.org_id from gateway_sessions g where g.key_hash = s.api_key limit 1),
  (select g.org_id from gateway_sessions g where g.session_id = s."user"),
  (select known.org_id from key_owners known where known.key_hash = s.api_key)) end as team_id) whose ${joinPayer(sql`whose.team_id`, "o")}`;

/** What a row lacks to be billed; null where it lacks nothing. Rows that correct others are asked for an owner of their own, too. */
export const REVIEW_REASON: RawBuilder<string | null> = sql`case
  when length(s.request_id) not between 1 and ${sql.lit(MAX_REQUEST_ID_LENGTH)} then 'no_request_id'
  when abs(s.spend) > ${sql.lit(MAX_SPEND_USD)} then 'bad_spend'
  when s.spend < 0 and not ${IS_CORRECTION} then 'unlinked_refund'
  when (octet_length(o.org_id) between 1 and ${sql.lit(MAX_ORG_ID_BYTES)}) is not true then 'no_org'
end`;

/** Names a row by its content, where its id cannot. */
export const ROW_HASH: RawBuilder<string> = sql`encode(sha256(convert_to(concat_ws('|', s.request_id, s.team_id, s."user", s.api_key, s.model,
  s."startTime"::text, s."endTime"::text, s.prompt_tokens::text, s.completion_tokens::text, s.spend::text), 'UTF8')), 'hex')`;

/** A stretch of the source by the start of its rows, in the source's own spelling: UTC without a zone, `-infinity`, `infinity`. */
export interface SourceRange {
  readonly from: string;
  /** Whether rows that began exactly at `from` belong to it. Default true. */
  readonly includesFrom?: boolean;
  /** Inclusive. */
  readonly to: string;
}

/** `start` is in the range; written so that both ends can be looked up in an index. */
export function isWithin(start: RawBuilder<unknown>, range: SourceRange): RawBuilder<boolean> {
  const beginning = (range.includesFrom ?? true) ? sql`${start} >= ${range.from}::timestamp` : sql`${start} > ${range.from}::timestamp`;
  return sql`${beginning} and ${start} <= ${range.to}::timestamp`;
}

/** Of a spend row `s`: when its request began, in UTC. */
export const ROW_START: RawBuilder<unknown> = sql`s."startTime"`;
/** Of a ledger key `k`: when the request began that it was made for. */
export const KEY_START: RawBuilder<unknown> = sql`k.source_start`;

/** True when nothing was billed under the row's id, ever. One look-up a row: for few rows. */
export const HAS_NO_EVENT: RawBuilder<boolean> = sql`(select true from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id) is null`;

/**
 * True when nothing was billed under the row's id (and, on demand, its very start) among the requests of the range: for many rows,
 * one hash join of two equal stretches.
 */
export function hasNoEventWithin(range: SourceRange, sameStart?: "same start"): RawBuilder<boolean> {
  const ofThisRow = sameStart === undefined ? sql`` : sql`and k.source_start = s."startTime"`;
  return sql`not exists (select from billing_event_keys k where k.idempotency_key = 'llm:' || s.request_id and ${isWithin(KEY_START, range)} ${ofThisRow})`;
}

/**
 * The amount of a review as people write it: the source's spelling may have an exponent (`2.66e-05`), which nobody should have to
 * read. What is no number stays as it is.
 */
export function plainSpend(review: string): RawBuilder<string> {
  return plainAmount(sql`${sql.ref(review)}.spend_usd`);
}

/** A DOUBLE, or its text, as plain decimal text. */
export function plainAmount(amount: RawBuilder<unknown>): RawBuilder<string> {
  return sql`case when ${amount}::text in ('NaN', 'Infinity', '-Infinity') then ${amount}::text else trim_scale(${amount}::text::numeric)::text end`;
}
