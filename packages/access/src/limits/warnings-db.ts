import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { payerOf } from "../principals/index.ts";
import type { LimitWarning } from "./limit-warning.ts";

/**
 * Puts warnings among the messages to the operator's own systems, for the payer of `teamId` ('' where there is no team), due at once.
 * Each limit, window and percentage is told once, whoever else puts it there.
 */
export async function insertLimitWarning(db: DatabaseExecutor, warning: LimitWarning, teamId: string | null): Promise<void> {
  const { limit, percent } = warning;
  const { principal, meter, window, model, windowStart, windowEnd, amount, used, enforce } = limit;
  // One that warns by a soft budget has no window: it is told once for each amount.
  const key = ["limit", principal.kind, principal.id, meter, window, model, windowStart, percent, percent === null ? amount : ""].join("/");
  const payload = {
    principal_kind: principal.kind,
    principal_id: principal.id,
    meter,
    window,
    model: model === "" ? null : model,
    amount,
    used,
    percent,
    enforce,
    window_ends_at: windowEnd === "infinity" ? null : new Date(windowEnd).toISOString(),
  };
  await sql`
    insert into webhook_events (event_key, type, org_id, payload, created_at, next_attempt_at)
    values (${key}, 'limit.warning', coalesce(${payerOf(sql`${teamId}::text`)}, ''), ${JSON.stringify(payload)}::jsonb, billing_now(), billing_now())
    on conflict (event_key) do nothing`.execute(db);
}
