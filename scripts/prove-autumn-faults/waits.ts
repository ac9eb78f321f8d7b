import type { DatabaseClient } from "@proliferate/db";

export interface OrgWait {
  readonly orgId: string;
  readonly batches: number;
  readonly attempts: number;
  /** The longest time that one of its batches was due and not tried, beyond the org's own attempts and back-off. */
  readonly longestMs: number;
}

/** `backoff.ts`: 20 s doubled, plus a fifth; what the sink asked for is less. */
const longestBackoffMs = (attempt: number): number => Math.min(20_000 * 2 ** (attempt - 1), 900_000) * 1.2;

const GOES_ON: ReadonlySet<string> = new Set(["delivered", "duplicate", "accepted"]);

/**
 * Of each org: how long its batches waited for something other than the org itself. An org's batches go one after the other,
 * so a batch waits since it was sealed, or since the org's attempt before ended and its back-off passed, whichever is later.
 */
export async function readWaits(db: DatabaseClient): Promise<readonly OrgWait[]> {
  const batches = await db
    .selectFrom("settlement_batches")
    .select(["batch_id", "org_id", "sealed_at"])
    .where("attempt_count", ">", 0)
    .execute();
  const attempts = await db
    .selectFrom("settlement_attempts")
    .select(["batch_id", "attempt", "started_at", "finished_at", "outcome"])
    .orderBy("started_at")
    .execute();
  const byId = new Map(batches.map((batch) => [batch.batch_id, batch]));
  const waits: OrgWait[] = [];
  for (const [orgId, ofOrg] of Map.groupBy(attempts, (attempt) => byId.get(attempt.batch_id)?.org_id ?? "")) {
    let longestMs = 0;
    let freeAtMs = 0;
    const dueAtMs = new Map<string, number>();
    for (const attempt of ofOrg) {
      const sealedAtMs = byId.get(attempt.batch_id)?.sealed_at.getTime() ?? 0;
      longestMs = Math.max(longestMs, attempt.started_at.getTime() - Math.max(sealedAtMs, freeAtMs, dueAtMs.get(attempt.batch_id) ?? 0));
      const endedAtMs = (attempt.finished_at ?? attempt.started_at).getTime();
      dueAtMs.set(attempt.batch_id, endedAtMs + longestBackoffMs(attempt.attempt));
      // What was queued, or delivered, does not hold up the org's others.
      freeAtMs = endedAtMs + (GOES_ON.has(attempt.outcome ?? "") ? 0 : longestBackoffMs(attempt.attempt));
    }
    waits.push({ orgId, batches: new Set(ofOrg.map((one) => one.batch_id)).size, attempts: ofOrg.length, longestMs });
  }
  return waits.toSorted((a, b) => (a.orgId < b.orgId ? -1 : 1));
}
