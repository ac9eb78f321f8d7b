import { type DatabaseExecutor, preparedStatement } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";
import { HAS_LIMIT_COLUMNS } from "../limits/index.ts";

/** Statements that say who calls. */

/** A key as a request meets it, with what its team adds. Times are judged by the database clock. */
export interface CallerRow {
  /** The key's id, whatever it was regenerated to: counters, limits, requests and spend rows go by it. The hash itself where it never was. */
  readonly keyHash: string;
  /** Its hash now, by which LiteLLM's table has it. */
  readonly token: string;
  /** The hash of what was shown: `token`, or that of a former key whose grace has not ended. */
  readonly shownHash: string;
  readonly keyName: string | null;
  readonly keyAlias: string | null;
  readonly userId: string | null;
  /** Null where there is none; LiteLLM writes '' as well. */
  readonly teamId: string | null;
  readonly teamAlias: string | null;
  readonly teamExists: boolean;
  readonly blocked: boolean;
  readonly teamBlocked: boolean;
  readonly expired: boolean;
  /** Of a former key: when its grace ends, if that is before. */
  readonly expires: Date | null;
  /** Names that are allowed; empty = all. */
  readonly models: readonly string[];
  readonly teamModels: readonly string[];
  /** Routes that it opens; empty = all of the data plane. */
  readonly allowedRoutes: readonly string[];
  /** What key and team call models, and the tags of both, as their tables have it: judged where it is read (`principals`). */
  readonly aliases: unknown;
  readonly teamAliases: unknown;
  readonly tags: unknown;
  readonly teamTags: unknown;
  /** What to spend before somebody is told; null = nobody is. It refuses nothing. */
  readonly softBudgetUsd: DecimalText | null;
  readonly teamSoftBudgetUsd: DecimalText | null;
  readonly maxBudgetUsd: DecimalText | null;
  readonly teamMaxBudgetUsd: DecimalText | null;
  /** Whether columns of LiteLLM's limit key or team beside the two budgets; limits of our own table are admission's business. */
  readonly hasLimitColumns: boolean;
}

/** What few callers have, in tables that are not opened for all others. */
type RareFields = Pick<CallerRow, "teamAliases" | "softBudgetUsd"> & { readonly sharedBudgetUsd: DecimalText | null };

const findCallerByHash = preparedStatement<
  { keyHash: string },
  Omit<CallerRow, keyof RareFields> & { readonly budgetId: string | null; readonly teamModelId: number | null }
>(
  "find_caller",
  ({ keyHash }) => sql`
    select coalesce(h.key_id, k.token) as "keyHash", k.token, k.token as "shownHash", k.key_name as "keyName", k.key_alias as "keyAlias",
           k.user_id as "userId", nullif(k.team_id, '') as "teamId", t.team_alias as "teamAlias", t.team_id is not null as "teamExists",
           coalesce(k.blocked, false) as blocked, coalesce(t.blocked, false) as "teamBlocked",
           coalesce(k.expires <= clock_timestamp() at time zone 'utc', false) as expired, k.expires,
           coalesce(k.models, '{}') as models, coalesce(t.models, '{}') as "teamModels",
           coalesce(k.allowed_routes, '{}') as "allowedRoutes", k.aliases, k.metadata->'tags' as tags, t.metadata->'tags' as "teamTags",
           t.model_id as "teamModelId", k.budget_id as "budgetId",
           trim_scale(t.soft_budget::text::numeric) as "teamSoftBudgetUsd",
           trim_scale(k.max_budget::text::numeric) as "maxBudgetUsd", trim_scale(t.max_budget::text::numeric) as "teamMaxBudgetUsd",
           ${HAS_LIMIT_COLUMNS} as "hasLimitColumns"
      from "LiteLLM_VerificationToken" k
      left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
      left join key_hashes h on h.key_hash = k.token
     where k.token = ${keyHash}`,
);

/** A key that was regenerated and still works: what took its place, and until when. */
const findFormerByHash = preparedStatement<{ keyHash: string }, { readonly token: string; readonly revokeAt: Date }>(
  "find_former_key",
  ({ keyHash }) => sql`
    select d.active_token_id as token, d.revoke_at as "revokeAt" from "LiteLLM_DeprecatedVerificationToken" d
     where d.token = ${keyHash} and d.revoke_at > clock_timestamp() at time zone 'utc'`,
);

const findRareFields = preparedStatement<{ budgetId: string | null; teamModelId: number | null }, RareFields>(
  "find_rare_fields",
  ({ budgetId, teamModelId }) => sql`
    select (select m.aliases from "LiteLLM_ModelTable" m where m.id = ${teamModelId}) as "teamAliases",
           trim_scale((select b.soft_budget::text::numeric from "LiteLLM_BudgetTable" b where b.budget_id = ${budgetId})) as "softBudgetUsd",
           trim_scale((select b.max_budget::text::numeric from "LiteLLM_BudgetTable" b where b.budget_id = ${budgetId})) as "sharedBudgetUsd"`,
);

/**
 * The key that a request shows, by its hash; undefined when there is none. One that was regenerated with a grace is the key that took its
 * place until that ends. No cache: what was revoked is gone at once.
 */
export async function findCaller(db: DatabaseExecutor, shownHash: string): Promise<CallerRow | undefined> {
  const caller = await findCurrent(db, shownHash);
  if (caller) return caller;
  const [former] = await findFormerByHash(db, { keyHash: shownHash });
  const current = former && (await findCurrent(db, former.token));
  if (!former || !current) return undefined;
  const { expires } = current;
  return { ...current, shownHash, expires: expires !== null && expires < former.revokeAt ? expires : former.revokeAt };
}

async function findCurrent(db: DatabaseExecutor, keyHash: string): Promise<CallerRow | undefined> {
  const [found] = await findCallerByHash(db, { keyHash });
  if (!found) return undefined;
  const { budgetId, teamModelId, ...caller } = found;
  const [rare] = budgetId === null && teamModelId === null ? [] : await findRareFields(db, { budgetId, teamModelId });
  const maxBudgetUsd = caller.maxBudgetUsd ?? rare?.sharedBudgetUsd ?? null;
  return { ...caller, maxBudgetUsd, teamAliases: rare?.teamAliases ?? null, softBudgetUsd: rare?.softBudgetUsd ?? null };
}

/** What decides about requests of a key without its limits: to compare it with what was read before. */
export type KeyState = Pick<CallerRow, "shownHash" | "token" | "teamId" | "userId" | "models" | "teamModels" | "allowedRoutes" | "aliases">;

/** Those of these keys, by the hashes of what was shown, that may be used now: neither they nor their teams are blocked, and they have not expired. */
export async function listUsableKeys(db: DatabaseExecutor, shownHashes: readonly string[]): Promise<readonly KeyState[]> {
  const { rows } = await sql<KeyState>`
    with shown as (
      select hash as "shownHash", hash as token from unnest(${[...shownHashes]}::text[]) as hash
      union all
      select d.token, d.active_token_id from "LiteLLM_DeprecatedVerificationToken" d
       where d.token = any(${[...shownHashes]}::text[]) and d.revoke_at > clock_timestamp() at time zone 'utc'
    )
    select s."shownHash", k.token, nullif(k.team_id, '') as "teamId", k.user_id as "userId", coalesce(k.models, '{}') as models,
           coalesce(t.models, '{}') as "teamModels", coalesce(k.allowed_routes, '{}') as "allowedRoutes", k.aliases
      from shown s
      join "LiteLLM_VerificationToken" k on k.token = s.token
      left join "LiteLLM_TeamTable" t on t.team_id = k.team_id
     where not coalesce(k.blocked, false) and not coalesce(t.blocked, false)
       and (k.expires is null or k.expires > clock_timestamp() at time zone 'utc') and (nullif(k.team_id, '') is null or t.team_id is not null)`.execute(
    db,
  );
  return rows;
}
