import { type DatabaseExecutor, type Placeholders, preparedStatement, type ReservationJson } from "@proliferate/db";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";
import type { CallerRow } from "../keys/index.ts";
import {
  type Amounts,
  callerNow,
  type CountedLimit,
  COUNTER_OF_LIMIT,
  hasOtherLimits,
  isLiteLLMBudget,
  limitsOfCaller,
  LOCK_ORDER,
  reserve,
  secondsLeftOf,
} from "../limits/index.ts";
import type { PrincipalKind } from "../principals/index.ts";
import type { AdmittedAttempt, NewAttempt } from "./db.ts";

/**
 * How an attempt comes on record, with what it reserves. Counters are locked in the order of their primary key by all of these, before
 * anything of LiteLLM's is, so no two transactions wait for each other in a circle.
 */

/**
 * What a request spent before its admission is part of it up to here; the clock of a process that stood still, or is wrong, puts no
 * start further back. Less than what spend sync looks back (15 min), so that no row stands outside of it.
 */
export const MOST_BEFORE_ADMISSION_MS = 10 * 60_000;

/**
 * The start of a request that had been running for so long when its statement was sent, by the clock of the database; in whole
 * milliseconds, as spend rows have it. Not `clock_timestamp()`: the statement may have waited for the counters of its scopes by then,
 * and the attempt would start, and end, later than it did by that wait.
 */
function startOf(beforeMs: number | RawBuilder<number>) {
  return sql<Date>`date_trunc('milliseconds', statement_timestamp() - ${beforeMs}::float8 * interval '1 millisecond')`;
}

/** Of how long it has been running before its admission, what is part of it. */
export function beforeMsOf(runningMs: number): number {
  return Math.min(Math.max(0, runningMs), MOST_BEFORE_ADMISSION_MS);
}

/** Records an attempt that has been running for `runningMs`, and reserves the most that it can take in every one of its limits, whose counters the caller has locked. */
export async function insertAttempt(
  tx: DatabaseExecutor,
  attempt: NewAttempt,
  { limits, asked, runningMs }: { readonly limits: readonly CountedLimit[]; readonly asked: Amounts; readonly runningMs: number },
): Promise<AdmittedRequest> {
  const mostOf = ({ meter }: CountedLimit): DecimalText => asked.get(meter)?.most ?? "0";
  const beside = limits.filter((limit) => !isLiteLLMBudget(limit)).map((limit) => reservationOf(limit, mostOf(limit)));
  const reservations = beside.length === 0 ? null : beside;
  const reservedUsd = reservedUsdOf(asked);
  const { started_at: startedAt } = await tx
    .insertInto("request_attempts")
    .values({
      ...attempt,
      reserved_usd: reservedUsd,
      reservations: reservations === null ? null : JSON.stringify(reservations),
      started_at: startOf(beforeMsOf(runningMs)),
    })
    .returning("started_at")
    .executeTakeFirstOrThrow();
  await reserve(tx, limits, mostOf);
  return {
    ...attempt,
    reserved_usd: reservedUsd,
    reservations,
    started_at: startedAt,
    limits: limits.map((limit) => withMost(limit, mostOf(limit))),
  };
}

function withMost(limit: CountedLimit, most: DecimalText): CountedLimit {
  return { ...limit, reserved: addDecimals(limit.reserved, most) };
}

/** What an attempt holds of the budgets of its key and team. */
function reservedUsdOf(asked: Amounts): DecimalText {
  return asked.get("usd")?.most ?? "0";
}

function reservationOf({ principal, meter, window, model, windowStart }: CountedLimit, amount: DecimalText): ReservationJson {
  return { kind: principal.kind, id: principal.id, meter, window, model, start: windowStart, amount };
}

/** What an admission statement is told: the attempt, the caller as it was read, and what the request asks of each meter. */
type AdmissionParameters = NewAttempt &
  Pick<CallerRow, "keyHash" | "token" | "teamId" | "userId" | "models" | "teamModels" | "allowedRoutes"> & {
    readonly beforeMs: number;
    readonly reservedUsd: DecimalText;
  };

interface AdmittedWithinLimits {
  readonly started_at: Date;
  readonly reservations: readonly ReservationJson[] | null;
  readonly limits: readonly CountedLimitJson[] | null;
}

/** A limit as the statements tell it, what this request reserves included. */
type CountedLimitJson = Omit<CountedLimit, "principal"> & { readonly kind: PrincipalKind; readonly id: string };

/**
 * An attempt that was admitted a moment ago, and how its limits stood then, its own reservation included. Those without an amount are among
 * them where somebody may ask for what is used.
 */
export type AdmittedRequest = AdmittedAttempt & { readonly limits: readonly CountedLimit[] };

/** All columns of an attempt but those that admission decides, in one order. */
const ATTEMPT_COLUMNS = Object.keys({
  api_base: true,
  attempt_id: true,
  call_type: true,
  client_session_id: true,
  dialect: true,
  end_user: true,
  estimated_input_tokens: true,
  hidden_tokens_per_second: true,
  instance_id: true,
  key_alias: true,
  key_hash: true,
  max_output_tokens: true,
  model: true,
  model_group: true,
  price_id: true,
  provider: true,
  request_tags: true,
  requested_model: true,
  requester_ip_address: true,
  team_id: true,
  user_id: true,
} satisfies Record<keyof NewAttempt, true>) as (keyof NewAttempt)[];

const attemptColumns = sql.join(ATTEMPT_COLUMNS.map((column) => sql.ref(column)));
const attemptValues = (p: Placeholders<NewAttempt>): RawBuilder<unknown> => sql.join(ATTEMPT_COLUMNS.map((column) => p[column]));

/** How both budgets stood, this request's reservation included; those of a team are null where there is none. */
interface AdmittedWithinBudgets {
  readonly started_at: Date;
  readonly key_max_usd: DecimalText | null;
  readonly key_used: DecimalText;
  readonly key_reserved: DecimalText;
  readonly team_max_usd: DecimalText | null;
  readonly team_used: DecimalText | null;
  readonly team_reserved: DecimalText | null;
}

/** For the many callers that have no limit but the two budgets: these alone are looked at, and only if that is still so. */
const insertWithinBudgets = preparedStatement<AdmissionParameters & { readonly leastUsd: DecimalText }, AdmittedWithinBudgets>(
  "insert_attempt_within_budgets",
  (p) => sql`
    with caller as (
      select k.max_budget::text::numeric as key_max_usd, t.max_budget::text::numeric as team_max_usd,
             k.spend::text::numeric as key_column_usd, t.spend::text::numeric as team_column_usd
        from "LiteLLM_VerificationToken" k
        left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
       where k.token = ${p.token} and ${isStill(p)} and not ${hasOtherLimits(sql`${p.keyHash}::text`)}
    ), reserved as materialized (
      select key_max_usd, team_max_usd, reserve_in_budgets(${p.keyHash}, ${p.teamId}, key_max_usd, team_max_usd, key_column_usd, team_column_usd,
                                                           ${p.leastUsd}::numeric, ${p.reservedUsd}::numeric) as budgets from caller
    ), attempt as (
      insert into request_attempts (started_at, reserved_usd, ${attemptColumns})
      select ${startOf(p.beforeMs)}, ${p.reservedUsd}::numeric, ${attemptValues(p)} from reserved where budgets is not null
      returning started_at
    )
    select started_at, key_max_usd, budgets[1] as key_used, budgets[2] as key_reserved, team_max_usd, budgets[3] as team_used, budgets[4] as team_reserved
      from attempt cross join reserved`,
);

/** What a request asks of each meter, as three lists side by side. */
interface AskedLists {
  readonly meters: readonly string[];
  readonly least: readonly DecimalText[];
  readonly most: readonly DecimalText[];
}

interface LimitsParameters extends AdmissionParameters, AskedLists {
  /** The two budgets are told even where they have no amount: somebody is to be told of what is spent. */
  readonly tellsAll: boolean;
}

/** For every caller. A limit of a meter that this process does not know has no room, if it refuses anybody. */
const insertWithinLimits = preparedStatement<LimitsParameters, AdmittedWithinLimits>(
  "insert_attempt_within_limits",
  (p) => sql`
    with caller as (${callerNow(p, isStill(p))}), applied as materialized (${limitsOfCaller(p.model_group)}), locked as (
      select a.*, c.reserved, used_of_budget(c.used, a.column_usd) as used from limit_counters c join applied a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    ), judged as (
      select l.*, coalesce(m.most, 0) as most, m.least from locked l
        left join unnest(${p.meters}::text[], ${p.least}::numeric[], ${p.most}::numeric[]) as m (meter, least, most) on m.meter = l.meter
    ), fitting as (
      select jsonb_agg(jsonb_build_object('kind', principal_kind, 'id', principal_id, 'meter', meter, 'window', limit_window, 'model', model,
                                          'start', window_start::text, 'amount', most::text) order by principal_kind, principal_id, meter, limit_window, model)
               filter (where not (principal_kind in ('key', 'team') and meter = 'usd' and limit_window = 'total' and model = '')) as reservations
        from judged
      having count(*) > 0 and count(*) = (select count(*) from applied)
        and bool_and(amount is null or enforce = 'count' or coalesce(amount > used + reserved and least <= amount - used - reserved, false))
    ), attempt as (
      insert into request_attempts (started_at, reserved_usd, reservations, ${attemptColumns})
      select ${startOf(p.beforeMs)}, ${p.reservedUsd}::numeric, reservations, ${attemptValues(p)} from fitting
      returning started_at, reservations
    ), moved as (
      update limit_counters c set reserved = c.reserved + a.most from judged a, attempt where ${COUNTER_OF_LIMIT}
    )
    select started_at, reservations, (
             select jsonb_agg(jsonb_build_object('kind', principal_kind, 'id', principal_id, 'meter', meter, 'window', limit_window, 'model', model,
                                'windowStart', window_start::text, 'windowEnd', window_end::text, 'secondsLeft', ${secondsLeftOf("window_end")},
                                'enforce', enforce, 'amount', trim_scale(amount)::text, 'used', trim_scale(used)::text, 'reserved', trim_scale(reserved + most)::text))
               from judged where amount is not null or (${p.tellsAll}::boolean and meter = 'usd' and limit_window = 'total')) as limits
      from attempt`,
);

/** Whether key and team still are as they were read: a change a moment ago is decided anew. */
function isStill(p: Placeholders<AdmissionParameters>): RawBuilder<unknown> {
  return sql`nullif(k.team_id, '') is not distinct from ${p.teamId}::text and k.user_id is not distinct from ${p.userId}::text
         and (${p.teamId}::text is null or t.team_id is not null)
         and not coalesce(k.blocked, false) and not coalesce(t.blocked, false)
         and (k.expires is null or k.expires > clock_timestamp() at time zone 'utc')
         and coalesce(k.models, '{}') = ${p.models}::text[] and coalesce(t.models, '{}') = ${p.teamModels}::text[]
         and coalesce(k.allowed_routes, '{}') = ${p.allowedRoutes}::text[]`;
}

/**
 * All of an admission in one atomic statement, of a request that has been running for `runningMs`, for a caller that still is what was
 * read of it: compares every limit under the locks of their counters, as `checkLimits` does, reserves, and records the attempt.
 * Undefined, and nothing changed, when the key or team may not be used any more, a counter is missing, a limit has no room, or there are
 * limits beside the two budgets and the statement was not told so (`isLimited`); it does not say which.
 */
export async function insertAttemptIfFits(
  db: DatabaseExecutor,
  attempt: NewAttempt,
  caller: CallerRow,
  { asked, runningMs, isLimited }: { readonly asked: Amounts; readonly runningMs: number; readonly isLimited: boolean },
): Promise<AdmittedRequest | undefined> {
  const { keyHash, token, teamId, userId, models, teamModels, allowedRoutes } = caller;
  const reservedUsd = reservedUsdOf(asked);
  const tellsAll = hasSoftBudget(caller);
  const read = { keyHash, token, teamId, userId, models, teamModels, allowedRoutes };
  const parameters = { ...attempt, ...read, beforeMs: beforeMsOf(runningMs), reservedUsd };
  if (!isLimited) {
    const [admitted] = await insertWithinBudgets(db, { ...parameters, leastUsd: asked.get("usd")?.least ?? "0" });
    if (!admitted) return undefined;
    const limits = budgetsOf(caller, admitted).filter(({ amount }) => amount !== null || tellsAll);
    return { ...attempt, reserved_usd: reservedUsd, reservations: null, started_at: admitted.started_at, limits };
  }
  const [admitted] = await insertWithinLimits(db, { ...parameters, tellsAll, ...askedLists(asked) });
  if (!admitted) return undefined;
  const limits = (admitted.limits ?? []).map(({ kind, id, ...limit }) => ({ principal: { kind, id }, ...limit }));
  return { ...attempt, reserved_usd: reservedUsd, ...admitted, limits };
}

/** LiteLLM's two budgets, as limits. */
function budgetsOf({ keyHash, teamId }: CallerRow, admitted: AdmittedWithinBudgets): readonly CountedLimit[] {
  const { key_max_usd: amount, key_used: used, key_reserved: reserved } = admitted;
  const key = { ...OF_BUDGETS, principal: { kind: "key", id: keyHash }, amount, used, reserved } as const;
  if (teamId === null) return [key];
  const { team_max_usd: teamAmount, team_used: teamUsed, team_reserved: teamReserved } = admitted;
  const team = { ...OF_BUDGETS, principal: { kind: "team", id: teamId }, amount: teamAmount } as const;
  return [key, { ...team, used: teamUsed ?? "0", reserved: teamReserved ?? "0" }];
}

const OF_BUDGETS = {
  meter: "usd",
  window: "total",
  model: "",
  windowStart: "-infinity",
  windowEnd: "infinity",
  secondsLeft: null,
  enforce: "refuse",
} as const;

/** Whether somebody is to be told of what key or team have spent, whatever they may spend. */
function hasSoftBudget({ softBudgetUsd, teamSoftBudgetUsd }: CallerRow): boolean {
  return softBudgetUsd !== null || teamSoftBudgetUsd !== null;
}

function askedLists(asked: Amounts): AskedLists {
  const amounts = [...asked.values()];
  return { meters: [...asked.keys()], least: amounts.map(({ least }) => least), most: amounts.map(({ most }) => most) };
}
