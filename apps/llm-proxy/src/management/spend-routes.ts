import type { DatabaseClient } from "@proliferate/db";
import { findKeys, hashOfKeyOrHash, readKeyId } from "@proliferate/access/keys";
import { listNewestSpendLogs, listSpendLogs, type StoredSpendLog } from "@proliferate/access/spend-logs";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import { parseQuery, type Route } from "./route.ts";
import { type TimeRange, requireRange, utcEnd, utcInstant } from "./spend-range.ts";
import { spendByDay } from "./spend-sum-routes.ts";

/** As many rows as one answer of `/spend/logs` has: the newest. */
const MOST_ROWS = 1_000;

const spendLogsQuerySchema = z.looseObject({
  start_date: utcInstant,
  end_date: utcEnd,
  team_id: z.string().optional(),
  user_id: z.string().optional(),
  api_key: z.string().optional(),
  request_id: z.string().optional(),
  status_filter: z.enum(["success", "failure"]).optional(),
  sort_by: z.enum(["startTime", "endTime", "spend", "total_tokens"]).default("startTime"),
  sort_order: z.enum(["asc", "desc"]).default("desc"),
  page: z.coerce.number().int().min(1).default(1),
  page_size: z.coerce.number().int().min(1).max(1_000).default(50),
});

const newestQuerySchema = z
  .looseObject({
    start_date: utcInstant.optional(),
    end_date: utcEnd.optional(),
    api_key: z.string().optional(),
    user_id: z.string().optional(),
    request_id: z.string().optional(),
    summarize: z.stringbool().default(true),
  })
  .refine((query) => (query.start_date === undefined) === (query.end_date === undefined), {
    message: "start_date and end_date are given together",
    path: ["end_date"],
  });

/** `GET /spend/logs` and `/spend/logs/v2` in LiteLLM's shapes: bounds are inclusive, on `startTime`. */
export function spendRoutes(db: DatabaseClient): readonly Route[] {
  return [
    { method: "GET", path: "/spend/logs", handle: async ({ query }) => newestSpendLogs(db, parseQuery(newestQuerySchema, query)) },
    { method: "GET", path: "/spend/logs/v2", handle: async ({ query }) => spendLogs(db, parseQuery(spendLogsQuerySchema, query)) },
  ];
}

/** Sums by day where there are dates, as LiteLLM has it, or the newest rows. */
async function newestSpendLogs(db: DatabaseClient, query: z.output<typeof newestQuerySchema>): Promise<unknown> {
  const { start_date: from, end_date: to, user_id: userId, request_id: requestId } = query;
  const keyHash = await keyIdOf(db, query.api_key);
  const filter = { keyHash, userId, requestId };
  if (from !== undefined && to !== undefined) {
    const range = requireRange(from, to);
    if (query.summarize) return spendByDay(db, { ...filter, ...range }, to);
    return (await listNewestSpendLogs(db, { ...filter, ...range }, MOST_ROWS)).map(spendLogView);
  }
  const range = keyHash === undefined || userId !== undefined || requestId !== undefined ? undefined : await lifeOf(db, keyHash);
  return (await listNewestSpendLogs(db, { ...filter, ...range }, MOST_ROWS)).map(spendLogView);
}

/** What stands as `api_key` in the rows of a key that is named by itself or its hash: the hash that it had first. */
async function keyIdOf(db: DatabaseClient, key: string | undefined): Promise<string | undefined> {
  return key === undefined ? undefined : readKeyId(db, hashOfKeyOrHash(key));
}

/** Rows are found by their time, and those of a key are none older than it. Throws `invalid_request` where nobody knows how old it is. */
async function lifeOf(db: DatabaseClient, keyHash: string): Promise<TimeRange> {
  const [key] = await findKeys(db, [keyHash]);
  if (key !== undefined) return requireRange(key.created_at, new Date());
  throw new AppError("invalid_request", "There is no such key any more: name start_date and end_date, between which its requests began.", {
    param: "start_date",
  });
}

async function spendLogs(db: DatabaseClient, query: z.output<typeof spendLogsQuerySchema>): Promise<unknown> {
  const filter = {
    from: query.start_date,
    to: query.end_date,
    teamId: query.team_id,
    userId: query.user_id,
    keyHash: await keyIdOf(db, query.api_key),
    requestId: query.request_id,
    status: query.status_filter,
  };
  const order = { column: query.sort_by, direction: query.sort_order };
  const { rows, total } = await listSpendLogs(db, filter, order, { page: query.page, size: query.page_size });
  return {
    data: rows.map(spendLogView),
    total,
    page: query.page,
    page_size: query.page_size,
    total_pages: Math.ceil(total / query.page_size),
  };
}

/** Spend is a JSON number on this wire, for display. Whoever bills reads the table. */
function spendLogView(row: StoredSpendLog): Record<string, unknown> {
  return { ...row, spend: Number(row.spend) };
}
