import type { DatabaseClient } from "@proliferate/db";
import { withDeadline } from "../outgoing/index.ts";
import { redriveWithoutBalance, takeOrgsWithoutBalance } from "./settlement-db.ts";
import type { SettlementSink } from "../sinks/index.ts";

/** Orgs asked about in one pass, side by side: Autumn admits few calls of the kind. */
const LIMIT = 20;
/** Whoever is slower is asked again at its next turn. */
const PATIENCE_MS = 5_000;

interface RevivedOrgs {
  readonly orgIds: readonly string[];
  readonly batches: number;
}

export const NONE_REVIVED: RevivedOrgs = { orgIds: [], batches: 0 };

/**
 * Asks the sink of orgs that it had nothing to take from whether it has by now (a plan that came later, a pack that was
 * bought), and makes their batches due again where it has. Asking takes nothing and leaves no trace there. Throws only when the
 * database fails.
 */
export async function reviveOrgs(
  db: DatabaseClient,
  {
    sink,
    orgIds,
    askTimeoutMs = PATIENCE_MS,
  }: { readonly sink: SettlementSink; readonly orgIds?: readonly string[]; readonly askTimeoutMs?: number },
): Promise<RevivedOrgs> {
  if (!sink.hasBalance) return NONE_REVIVED;
  const waiting = await takeOrgsWithoutBalance(db, { orgIds, limit: LIMIT });
  const ask = async (orgId: string): Promise<boolean> =>
    withDeadline(askTimeoutMs, async () => (await sink.hasBalance?.(orgId)) ?? false).catch(() => false);
  const answers = await Promise.all(waiting.map(async (orgId) => ({ orgId, isServed: await ask(orgId) })));
  const served = answers.filter((answer) => answer.isServed).map((answer) => answer.orgId);
  let batches = 0;
  for (const orgId of served) batches += await db.transaction().execute((tx) => redriveWithoutBalance(tx, orgId));
  return { orgIds: served, batches };
}
