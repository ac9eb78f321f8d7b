import type { DatabaseClient } from "@proliferate/db";
import { findKeyNames, hashOfKeyOrHash, readKeyId } from "@proliferate/access/keys";
import { type SpendGroup, type SpendSum, type SpendSumFilter, sumSpend, totalSpend } from "@proliferate/access/spend-logs";
import { findTeamAliases } from "@proliferate/access/teams";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { z } from "zod";
import { parseQuery, type Route } from "./route.ts";
import { DAY_MS, lastThirtyDays, requireRange, utcEnd, utcInstant } from "./spend-range.ts";

/** More groups than this are no answer that anybody reads; what would have more is refused. */
const MOST_GROUPS = 10_000;

const daysQuerySchema = z.looseObject({ start_date: utcInstant, end_date: utcEnd });
const topQuerySchema = z.looseObject({ limit: z.coerce.number().int().min(1).max(1_000).default(100) });
const globalLogsQuerySchema = z.looseObject({ api_key: z.string().optional() });

/** `/global/spend*` and `/global/activity*`, `/spend/tags` in LiteLLM's shapes. Each reads the rows of its range: the last 30 days where none is given. */
export function spendSumRoutes(db: DatabaseClient): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/global/spend",
      // As LiteLLM answers where no budget of the whole proxy is set, which ours does not have.
      handle: async () => ({ spend: Number(await totalSpend(db, lastThirtyDays(new Date()))), max_budget: 0 }),
    },
    {
      method: "GET",
      path: "/global/spend/logs",
      handle: async ({ query }) => globalSpendLogs(db, parseQuery(globalLogsQuerySchema, query)),
    },
    { method: "GET", path: "/global/spend/keys", handle: async ({ query }) => spendOfKeys(db, parseQuery(topQuerySchema, query).limit) },
    { method: "GET", path: "/global/spend/teams", handle: async () => spendOfTeams(db) },
    {
      method: "GET",
      path: "/global/spend/models",
      handle: async ({ query }) => {
        const { limit } = parseQuery(topQuerySchema, query);
        const sums = await sumSpend(db, lastThirtyDays(new Date()), ["model"], { order: "dearest", limit });
        return sums.filter(({ model }) => model !== "").map(({ model, spendUsd }) => ({ model, total_spend: Number(spendUsd) }));
      },
    },
    {
      method: "GET",
      path: "/global/spend/provider",
      handle: async ({ query }) =>
        (await everySum(db, rangeOf(query), ["custom_llm_provider"])).map((sum) => ({
          provider: sum.custom_llm_provider,
          spend: Number(sum.spendUsd),
        })),
    },
    {
      method: "GET",
      path: "/global/spend/tags",
      handle: async ({ query }) => {
        const sums = await everySum(db, rangeOf(query), ["tag"]);
        return { spend_per_tag: sums.map(({ tag, spendUsd, requests }) => ({ name: tag, spend: Number(spendUsd), log_count: requests })) };
      },
    },
    {
      method: "GET",
      path: "/spend/tags",
      handle: async () => {
        const sums = await everySum(db, lastThirtyDays(new Date()), ["tag"]);
        return sums.map(({ tag, spendUsd, requests }) => ({
          individual_request_tag: tag,
          log_count: requests,
          total_spend: Number(spendUsd),
        }));
      },
    },
    { method: "GET", path: "/global/activity", handle: async ({ query }) => activity(await everySum(db, rangeOf(query), ["day"])) },
    { method: "GET", path: "/global/activity/model", handle: async ({ query }) => activityOfModels(db, rangeOf(query)) },
  ];
}

function rangeOf(query: URLSearchParams): SpendSumFilter {
  const { start_date: first, end_date: last } = parseQuery(daysQuerySchema, query);
  return requireRange(first, last);
}

/** Throws `invalid_request` where there are more groups than an answer may have. */
async function everySum<Group extends SpendGroup>(
  db: DatabaseClient,
  filter: SpendSumFilter,
  groups: readonly [Group, ...Group[]],
): Promise<readonly SpendSum<Group>[]> {
  const sums = await sumSpend(db, filter, groups, { order: "groups", limit: MOST_GROUPS + 1 });
  if (sums.length <= MOST_GROUPS) return sums;
  throw new AppError("invalid_request", `These are more than ${MOST_GROUPS} sums; ask for fewer days at a time.`, { param: "start_date" });
}

/** `/spend/logs` with dates: a day with what was spent in it by key, user and model; days after the last one that has rows are 0, as LiteLLM has it. */
export async function spendByDay(db: DatabaseClient, filter: SpendSumFilter, lastMoment: Date): Promise<unknown> {
  const days = Map.groupBy(await everySum(db, filter, ["day", "api_key", "user", "model"]), ({ day }) => day);
  const items = [...days].map(([day, sums]) => ({
    ...spendBy(sums, ({ api_key: hash }) => hash),
    startTime: day,
    spend: Number(addDecimals("0", ...sums.map(({ spendUsd }) => spendUsd))),
    users: spendBy(sums, ({ user }) => user),
    models: spendBy(sums, ({ model }) => model),
  }));
  const last = items.at(-1)?.startTime;
  const empty = last === undefined ? [] : daysAfter(last, lastMoment).map((day) => ({ startTime: day, spend: 0, users: {}, models: {} }));
  return [...items, ...empty];
}

function daysAfter(day: string, until: Date): readonly string[] {
  const first = Date.parse(`${day}T00:00:00Z`) + DAY_MS;
  const count = Math.max(0, Math.floor((until.getTime() - first) / DAY_MS) + 1);
  return Array.from({ length: count }, (_, index) => new Date(first + index * DAY_MS).toISOString().slice(0, 10));
}

/** USD by text, as JSON numbers, for display; added up exactly before. */
function spendBy<Sum extends { readonly spendUsd: DecimalText }>(
  sums: readonly Sum[],
  textOf: (sum: Sum) => string,
): Record<string, number> {
  const groups = Map.groupBy(sums, textOf);
  return Object.fromEntries([...groups].map(([text, of]) => [text, Number(addDecimals("0", ...of.map(({ spendUsd }) => spendUsd)))]));
}

async function globalSpendLogs(db: DatabaseClient, { api_key: key }: z.output<typeof globalLogsQuerySchema>): Promise<unknown> {
  const keyHash = key === undefined ? undefined : await readKeyId(db, hashOfKeyOrHash(key));
  const sums = await everySum(db, { ...lastThirtyDays(new Date()), keyHash }, ["day"]);
  return sums.map(({ day, spendUsd }) => ({ date: day, spend: Number(spendUsd), ...(keyHash !== undefined && { api_key: keyHash }) }));
}

async function spendOfKeys(db: DatabaseClient, limit: number): Promise<unknown> {
  const sums = await sumSpend(db, lastThirtyDays(new Date()), ["api_key"], { order: "dearest", limit });
  const names = await findKeyNames(
    db,
    sums.map(({ api_key: hash }) => hash),
  );
  return sums.map(({ api_key: hash, spendUsd }) => ({
    api_key: hash,
    key_alias: names.get(hash)?.keyAlias ?? null,
    key_name: names.get(hash)?.keyName ?? null,
    total_spend: Number(spendUsd),
  }));
}

async function spendOfTeams(db: DatabaseClient): Promise<unknown> {
  const sums = (await everySum(db, lastThirtyDays(new Date()), ["day", "team_id"])).filter(({ team_id: id }) => id !== "");
  const aliases = await findTeamAliases(db, [...new Set(sums.map(({ team_id: id }) => id))]);
  const nameOf = ({ team_id: id }: { readonly team_id: string }): string => aliases.get(id) ?? id;
  const total = Object.entries(spendBy(sums, nameOf)).toSorted(([, one], [, other]) => other - one);
  return {
    daily_spend: [...Map.groupBy(sums, ({ day }) => day)].map(([day, of]) => ({ date: day, ...spendBy(of, nameOf) })),
    teams: [...new Set(sums.map(nameOf))],
    total_spend_per_team: total.slice(0, 10).map(([team, spend]) => ({ team_id: team, total_spend: spend })),
  };
}

type Counted = Pick<SpendSum<"day">, "day" | "requests" | "tokens">;

function activity(sums: readonly Counted[]): unknown {
  return {
    daily_data: sums.map(({ day, requests, tokens }) => ({ date: shortDay(day), api_requests: requests, total_tokens: tokens })),
    ...totalsOf(sums),
  };
}

async function activityOfModels(db: DatabaseClient, range: SpendSumFilter): Promise<unknown> {
  const models = Map.groupBy(await everySum(db, range, ["model_group", "day"]), ({ model_group: model }) => model);
  const views = [...models].map(([model, sums]) => ({
    model,
    daily_data: sums.map(({ day, requests, tokens }) => ({
      model_group: model,
      date: shortDay(day),
      api_requests: requests,
      total_tokens: tokens,
    })),
    ...totalsOf(sums),
  }));
  return views.toSorted((one, other) => other.sum_api_requests - one.sum_api_requests).slice(0, 10);
}

function totalsOf(sums: readonly Counted[]): { readonly sum_api_requests: number; readonly sum_total_tokens: number } {
  return {
    sum_api_requests: sums.reduce((sum, { requests }) => sum + requests, 0),
    sum_total_tokens: sums.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}

/** `Nov 28`, as LiteLLM writes days here. */
function shortDay(day: string): string {
  return new Date(`${day}T00:00:00Z`).toLocaleDateString("en-US", { month: "short", day: "2-digit", timeZone: "UTC" });
}
