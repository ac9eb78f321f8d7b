import type { DatabaseExecutor, ServiceTokenAuditTable, ServiceTokenTable } from "@proliferate/db";
import { type Insertable, type Selectable, sql } from "kysely";

export type ServiceTokenRow = Selectable<ServiceTokenTable>;

/** Stores a token by its hash. Throws what PostgreSQL says for a hash or id that is there already. */
export async function insertToken(db: DatabaseExecutor, token: Insertable<ServiceTokenTable>): Promise<ServiceTokenRow> {
  return db.insertInto("service_tokens").values(token).returningAll().executeTakeFirstOrThrow();
}

/** The token with this hash, or with this as its former one while that still works; neither revoked nor expired. */
export async function findLiveToken(
  db: DatabaseExecutor,
  tokenHash: string,
): Promise<(ServiceTokenRow & { readonly is_stale: boolean }) | undefined> {
  return db
    .selectFrom("service_tokens")
    .selectAll()
    .select(sql<boolean>`last_used_at is null or last_used_at < now() - interval '1 minute'`.as("is_stale"))
    .where((row) =>
      row.or([
        row("token_hash", "=", tokenHash),
        row.and([row("previous_hash", "=", tokenHash), row("previous_valid_until", ">", sql<Date>`now()`)]),
      ]),
    )
    .where("revoked_at", "is", null)
    .where((row) => row.or([row("expires_at", "is", null), row("expires_at", ">", sql<Date>`now()`)]))
    .executeTakeFirst();
}

/** Notes that the token was used just now. */
export async function writeLastUse(db: DatabaseExecutor, tokenId: string): Promise<void> {
  await db
    .updateTable("service_tokens")
    .set({ last_used_at: sql<Date>`now()` })
    .where("token_id", "=", tokenId)
    .execute();
}

/** Undefined for a token that is unknown or revoked. */
export async function replaceHash(
  db: DatabaseExecutor,
  tokenId: string,
  tokenHash: string,
  overlapSeconds: number,
): Promise<ServiceTokenRow | undefined> {
  return db
    .updateTable("service_tokens")
    .set({
      token_hash: tokenHash,
      previous_hash: sql<string>`token_hash`,
      previous_valid_until: sql<Date>`now() + ${overlapSeconds} * interval '1 second'`,
    })
    .where("token_id", "=", tokenId)
    .where("revoked_at", "is", null)
    .returningAll()
    .executeTakeFirst();
}

/** Undefined for a token that is unknown; the first revocation's moment is kept. */
export async function markRevoked(db: DatabaseExecutor, tokenId: string): Promise<ServiceTokenRow | undefined> {
  return db
    .updateTable("service_tokens")
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, now())` })
    .where("token_id", "=", tokenId)
    .returningAll()
    .executeTakeFirst();
}

/** Records what was done to a token, and by which request. */
export async function insertAudit(
  db: DatabaseExecutor,
  tokenId: string,
  action: ServiceTokenAuditTable["action"],
  requestId: string,
): Promise<void> {
  await db.insertInto("service_token_audit").values({ token_id: tokenId, action, request_id: requestId }).execute();
}

/** All tokens, revoked ones included, newest first. */
export async function selectTokens(db: DatabaseExecutor): Promise<readonly ServiceTokenRow[]> {
  return db.selectFrom("service_tokens").selectAll().orderBy("created_at", "desc").orderBy("token_id").execute();
}

/** The token with this id, in whatever state; undefined where there is none. */
export async function findToken(db: DatabaseExecutor, tokenId: string): Promise<ServiceTokenRow | undefined> {
  return db.selectFrom("service_tokens").selectAll().where("token_id", "=", tokenId).executeTakeFirst();
}

/** What was done to a token, oldest first. */
export async function selectAudit(db: DatabaseExecutor, tokenId: string): Promise<readonly Selectable<ServiceTokenAuditTable>[]> {
  return db.selectFrom("service_token_audit").selectAll().where("token_id", "=", tokenId).orderBy("audit_id").execute();
}
