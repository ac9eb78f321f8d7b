import type { DatabaseClient } from "@proliferate/db";
import { hashOfKeyOrHash } from "@proliferate/access/keys";
import { listSpendLogs, type StoredSpendLog } from "@proliferate/access/spend-logs";
import { z } from "zod";
import { parseQuery, type Route } from "./route.ts";

const DAY_MS = 86_400_000;

/** `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`, UTC; a day is its first moment. */
const utcInstant = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}:\d{2})?$/, "must be YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, in UTC")
  .transform((text, context) => {
    const instant = new Date(text.length === 10 ? `${text}T00:00:00Z` : `${text.replace(" ", "T")}Z`);
    if (!Number.isNaN(instant.getTime())) return instant;
    context.addIssue({ code: "custom", message: "is not a date of the calendar" });
    return z.NEVER;
  });

/** The same as an end that is included: a day is its last moment, in the milliseconds that the column holds. */
const utcEnd = z.string().transform((text, context) => {
  const result = utcInstant.safeParse(text);
  if (result.success) return new Date(result.data.getTime() + (text.length === 10 ? DAY_MS - 1 : 0));
  context.addIssue({ code: "custom", message: result.error.issues[0]?.message ?? "is not a date" });
  return z.NEVER;
});

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

/** `GET /spend/logs/v2` in LiteLLM's shape: bounds are inclusive, on `startTime`. */
export function spendRoutes(db: DatabaseClient): readonly Route[] {
  return [{ method: "GET", path: "/spend/logs/v2", handle: async ({ query }) => spendLogs(db, parseQuery(spendLogsQuerySchema, query)) }];
}

async function spendLogs(db: DatabaseClient, query: z.output<typeof spendLogsQuerySchema>): Promise<unknown> {
  const filter = {
    from: query.start_date,
    to: query.end_date,
    teamId: query.team_id,
    userId: query.user_id,
    keyHash: query.api_key === undefined ? undefined : hashOfKeyOrHash(query.api_key),
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
