import { createHash, randomBytes, randomUUID } from "node:crypto";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import type { ServiceToken, ServiceTokenDetail, TokenScope } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import {
  findLiveToken,
  findToken,
  insertAudit,
  insertToken,
  markRevoked,
  replaceHash,
  selectAudit,
  selectTokens,
  type ServiceTokenRow,
  writeLastUse,
} from "./db.ts";

/** A token in plain text: told to its owner once, stored nowhere. */
interface IssuedToken {
  readonly row: ServiceTokenRow;
  readonly token: string;
}

/** Whose service token it is: its scopes, and the organization that it is bound to, if any. */
export interface TokenOwner {
  readonly tokenId: string;
  /** Undefined: every organization. */
  readonly orgId: string | undefined;
  readonly scopes: readonly TokenScope[];
}

const newToken = (): string => `gwt_${randomBytes(32).toString("base64url")}`;
const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");

/** Makes a token. `requestId` is what the audit names. */
export async function createServiceToken(
  db: DatabaseClient,
  options: {
    readonly name: string;
    readonly scopes: readonly TokenScope[];
    readonly orgId: string | undefined;
    readonly expiresAt: Date | undefined;
    readonly requestId: string;
  },
): Promise<IssuedToken> {
  const token = newToken();
  const row = await db.transaction().execute(async (tx) => {
    const values = {
      token_id: `tok_${randomUUID()}`,
      name: options.name,
      token_hash: hashOf(token),
      scopes: [...new Set(options.scopes)],
      org_id: options.orgId ?? null,
      expires_at: options.expiresAt ?? null,
    };
    const made = await insertToken(tx, {
      ...values,
      previous_hash: null,
      previous_valid_until: null,
      revoked_at: null,
      last_used_at: null,
    });
    await insertAudit(tx, made.token_id, "created", options.requestId);
    return made;
  });
  return { row, token };
}

/** Whose token it is; undefined when it is unknown, revoked, expired or rotated away. No cache: a revoked one is refused at once. */
export async function authenticateServiceToken(db: DatabaseExecutor, token: string): Promise<TokenOwner | undefined> {
  const row = await findLiveToken(db, hashOf(token));
  if (!row) return undefined;
  if (row.is_stale) await writeLastUse(db, row.token_id);
  return { tokenId: row.token_id, orgId: row.org_id ?? undefined, scopes: row.scopes as TokenScope[] };
}

/** A new token with the same rights; the old one works for the overlap, one before it no longer. Throws `token_not_found`. */
export async function rotateServiceToken(
  db: DatabaseClient,
  tokenId: string,
  options: { readonly overlapSeconds: number; readonly requestId: string },
): Promise<IssuedToken> {
  const token = newToken();
  const row = await db.transaction().execute(async (tx) => {
    const rotated = await replaceHash(tx, tokenId, hashOf(token), options.overlapSeconds);
    if (rotated) await insertAudit(tx, tokenId, "rotated", options.requestId);
    return rotated;
  });
  if (!row) throw new AppError("token_not_found", `There is no service token ${tokenId}, or it was revoked.`);
  return { row, token };
}

/** In force with the next request. Idempotent. Throws `token_not_found`. */
export async function revokeServiceToken(db: DatabaseClient, tokenId: string, requestId: string): Promise<ServiceTokenRow> {
  const row = await db.transaction().execute(async (tx) => {
    const revoked = await markRevoked(tx, tokenId);
    if (revoked) await insertAudit(tx, tokenId, "revoked", requestId);
    return revoked;
  });
  if (!row) throw new AppError("token_not_found", `There is no service token ${tokenId}.`);
  return row;
}

/** All tokens as the API shows them, the newest first, revoked ones included. */
export async function listServiceTokens(db: DatabaseExecutor): Promise<readonly ServiceToken[]> {
  return (await selectTokens(db)).map(describeServiceToken);
}

/** A token and what was done to it, oldest first; in whatever state it is. Throws `token_not_found`. */
export async function readServiceToken(db: DatabaseExecutor, tokenId: string): Promise<ServiceTokenDetail> {
  const row = await findToken(db, tokenId);
  if (!row) throw new AppError("token_not_found", `There is no service token ${tokenId}.`);
  const audit = (await selectAudit(db, tokenId)).map(({ action, request_id: requestId, occurred_at: occurredAt }) => ({
    action,
    request_id: requestId,
    occurred_at: occurredAt.toISOString(),
  }));
  return { ...describeServiceToken(row), audit };
}

/** The row as the API shows it: no hash, as nobody needs it. */
export function describeServiceToken(row: ServiceTokenRow): ServiceToken {
  return {
    token_id: row.token_id,
    name: row.name,
    scopes: row.scopes as TokenScope[],
    org_id: row.org_id,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    revoked_at: row.revoked_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  };
}
