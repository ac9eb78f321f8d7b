import type { connectSession } from "@proliferate/db";

/** A connection that stays one session. */
export type Session = Awaited<ReturnType<typeof connectSession>>;

/** What stands in the database between two steps: requests on record, spend rows, what is set, and what the counters say. */
export interface Facts {
  readonly attempts: readonly AttemptFact[];
  readonly rows: readonly RowFact[];
  readonly limits: readonly LimitFact[];
  /** By their ids; `spend_usd` is LiteLLM's column. */
  readonly keys: readonly { readonly id: string; readonly max_usd: string | null; readonly spend_usd: string }[];
  /** Hashes of what may be shown, and until when, in milliseconds since 1970; null is for ever. */
  readonly usable: readonly { readonly hash: string; readonly until_ms: number | null }[];
  readonly teams: readonly { readonly id: string; readonly max_usd: string | null }[];
  readonly counters: readonly CounterFact[];
}

/** Whose, of what, and where: one counter, or the part of it that a request holds. `start` in milliseconds since 1970; null is for ever. */
export interface CounterName {
  readonly kind: string;
  readonly id: string;
  readonly meter: string;
  readonly window: string;
  readonly model: string;
  readonly start: number | null;
}

interface AttemptFact {
  readonly attempt_id: string;
  readonly key_hash: string;
  readonly reserved_usd: string;
  readonly reservations: readonly (Omit<CounterName, "start"> & { readonly start: string; readonly amount: string })[] | null;
}
export interface RowFact {
  readonly request_id: string;
  readonly spend: string;
  readonly tokens: number;
  readonly status: string;
  readonly team_id: string;
  /** When its request began, in milliseconds since 1970. */
  readonly start_ms: number;
}
interface LimitFact extends Omit<CounterName, "start"> {
  readonly amount: string;
  readonly enforce: string;
}
interface CounterFact extends Omit<CounterName, "start"> {
  readonly start: string;
  readonly used: string;
  readonly reserved: string;
}

/** Of the requests of plans. */
export const REQUEST_ID_PREFIX = "00000000-0000-4000-8000-";

const FACTS = `select
  (select coalesce(json_agg(json_build_object('attempt_id', attempt_id, 'key_hash', key_hash, 'reserved_usd', trim_scale(reserved_usd)::text, 'reservations', reservations)), '[]') from request_attempts) as attempts,
  (select coalesce(json_agg(json_build_object('request_id', request_id, 'spend', spend::text::numeric::text, 'tokens', total_tokens, 'status', status, 'team_id', team_id,
      'start_ms', extract(epoch from "startTime" at time zone 'utc') * 1000)), '[]') from "LiteLLM_SpendLogs" where request_id like '${REQUEST_ID_PREFIX}%') as rows,
  (select coalesce(json_agg(json_build_object('kind', principal_kind, 'id', principal_id, 'meter', meter, 'window', limit_window, 'model', model, 'amount', trim_scale(amount)::text, 'enforce', enforce)), '[]') from limits) as limits,
  (select coalesce(json_agg(json_build_object('id', coalesce(h.key_id, token), 'max_usd', max_budget::text::numeric::text,
      'spend_usd', trim_scale(round(spend::text::numeric, 9))::text)), '[]')
      from "LiteLLM_VerificationToken" left join key_hashes h on h.key_hash = token) as keys,
  (select coalesce(json_agg(json_build_object('hash', hash, 'until_ms', until_ms)), '[]') from (
      select token as hash, null::float8 as until_ms from "LiteLLM_VerificationToken"
      union all select d.token, extract(epoch from d.revoke_at at time zone 'utc')::float8 * 1000 from "LiteLLM_DeprecatedVerificationToken" d) u) as usable,
  (select coalesce(json_agg(json_build_object('id', team_id, 'max_usd', max_budget::text::numeric::text)), '[]') from "LiteLLM_TeamTable") as teams,
  (select coalesce(json_agg(json_build_object('kind', principal_kind, 'id', principal_id, 'meter', meter, 'window', limit_window, 'model', model,
      'start', window_start::text, 'used', trim_scale(used)::text, 'reserved', trim_scale(reserved)::text)), '[]') from limit_counters where used <> 0 or reserved <> 0) as counters`;

/** All of it in one statement, so of one moment; what is not committed is not in it. */
export async function readFacts(observer: Session): Promise<Facts> {
  const { rows } = await observer.query<Facts>({ name: "facts", text: FACTS });
  return rows[0] as Facts;
}

/** An amount in the model's unit: thousandths of a USD, requests, tokens. Throws where something finer comes than any request takes. */
export function unitsOf(meter: string, text: string): bigint {
  if (meter !== "usd") return BigInt(text);
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  const thousandths = (match?.[3] ?? "").padEnd(3, "0");
  if (!match || thousandths.length > 3) throw new RangeError(`${text} USD is no whole number of thousandths`);
  const units = BigInt(match[2] ?? "0") * 1_000n + BigInt(thousandths);
  return match[1] === "-" ? -units : units;
}

/** When a window began, as PostgreSQL writes it. */
export function startOf(text: string): number | null {
  return text === "-infinity" ? null : Date.parse(text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00"));
}

export const nameOf = ({ kind, id, meter, window, model, start }: CounterName): string =>
  [kind, id, meter, window, model, start ?? "ever"].join("|");
