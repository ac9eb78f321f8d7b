/** Statements on what people did by hand. */
import type { DatabaseExecutor, OperatorActionTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";

/** One decision by hand, as it is on record. */
type OperatorActionRow = Selectable<OperatorActionTable>;

/** One decision by hand, before it is on record. */
interface NewAction {
  readonly action: string;
  readonly subject: string;
  readonly orgId: string | null;
  readonly operator: string;
  readonly via: string;
  readonly reason: string | null;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Puts one action on record. Call it in the transaction of the change that it tells of. */
export async function insertAction(tx: DatabaseExecutor, action: NewAction): Promise<void> {
  await sql`
    insert into operator_actions (action, subject, org_id, operator, via, reason, facts)
    values (${action.action}, ${action.subject}, ${action.orgId}, ${action.operator}, ${action.via}, ${action.reason}, ${JSON.stringify(action.facts)}::jsonb)`.execute(
    tx,
  );
}

/** Newest first, below `before` where it is given, of one organization or subject where they are given; at most `limit`. */
export async function readActions(
  db: DatabaseExecutor,
  filter: {
    readonly orgId?: string | undefined;
    readonly subject?: string | undefined;
    readonly before?: string | undefined;
    readonly limit: number;
  },
): Promise<readonly OperatorActionRow[]> {
  const result = await sql<OperatorActionRow>`
    select action_id, action, subject, org_id, operator, via, reason, facts, acted_at from operator_actions
    where (${filter.orgId ?? null}::text is null or org_id = ${filter.orgId ?? null}::text)
      and (${filter.subject ?? null}::text is null or subject = ${filter.subject ?? null}::text)
      and (${filter.before ?? null}::bigint is null or action_id < ${filter.before ?? null}::bigint)
    order by action_id desc
    limit ${filter.limit}`.execute(db);
  return result.rows;
}
