import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { withDeadInstance } from "@proliferate/access/requests";
import { claimRequest, deleteRequest, takeRequestOver, writeAnswer, writeDraft } from "./idempotency-db.ts";

/** A request that is to be run once. */
interface IdempotentRequest {
  /** Whose request it is: two organizations may use one key. */
  readonly orgId: string;
  /** The caller's, 16 characters at least: it also opens the stored answer, so it must not be guessable. */
  readonly idempotencyKey: string;
  /** Everything that the caller asked for, in one spelling. */
  readonly body: string;
  /** For a session whose id the caller left open; used by the first request, and by one that takes over from a dead gateway. */
  readonly sessionId: string;
  /** The process lock of this gateway: once it is free, another may take the request over. */
  readonly instanceId: number;
}

/** What was answered, and is answered again. */
export interface StoredAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** One run of the work: the only one, unless its gateway dies. */
export interface OneRun {
  /** For the session that this run starts. */
  readonly sessionId: string;
  /** What a run left whose gateway died: its session, perhaps alive, and what it had kept. */
  readonly former?: { readonly sessionId: string; readonly kept: unknown } | undefined;
  /** Whether what is kept outlives this process: not without an idempotency key. */
  readonly isKept: boolean;
  /** To be called before the session is started: keeps what a later run needs to answer for it, sealed as the answer is. */
  keep(kept: unknown): Promise<void>;
}

const digest = (...parts: readonly string[]): string => createHash("sha256").update(JSON.stringify(parts)).digest("hex");

/**
 * Runs `work` once for an org and idempotency key, and answers its result again for 24 hours, secrets included: the answer
 * is stored sealed with AES-256-GCM under a key made of the idempotency key and the body, neither of which is stored. Another
 * body is `idempotency_conflict`; a request while the first is at work, `idempotency_in_progress`. What fails is forgotten,
 * so that it may be tried again. When its gateway died without an answer, the next request runs the work again, and is told
 * what the first one left; work that throws `idempotency_in_progress` may be run once more.
 */
export async function runOnce(
  db: DatabaseClient,
  request: IdempotentRequest,
  work: (run: OneRun) => Promise<StoredAnswer>,
): Promise<StoredAnswer> {
  const name = { orgId: request.orgId, keyHash: digest("idempotency key", request.orgId, request.idempotencyKey) };
  const bodyHash = digest("body", request.body);
  const { row, isNew } = await claimRequest(db, { ...name, bodyHash, sessionId: request.sessionId, instanceId: request.instanceId });
  if (row.body_hash !== bodyHash)
    throw new AppError("idempotency_conflict", "This Idempotency-Key was sent before with another body.", { param: "Idempotency-Key" });
  if (row.status !== null && row.sealed_answer !== null) return { status: row.status, body: open(request, row.sealed_answer) };
  if (!isNew) {
    let isOurs = false;
    if (row.instance_id !== request.instanceId) {
      await withDeadInstance(db, row.instance_id, async () => {
        isOurs = await takeRequestOver(db, name, row.instance_id, request.instanceId);
      });
    }
    if (!isOurs)
      throw new AppError("idempotency_in_progress", "The first request with this Idempotency-Key is still at work.", {
        retryAfterSeconds: 1,
      });
  }
  try {
    const former = isNew
      ? undefined
      : { sessionId: row.session_id, kept: row.sealed_draft === null ? undefined : open(request, row.sealed_draft) };
    const keep = (kept: unknown): Promise<void> => writeDraft(db, name, request.sessionId, seal(request, kept));
    const answer = await work({ sessionId: request.sessionId, former, isKept: true, keep });
    await writeAnswer(db, name, answer.status, seal(request, answer.body));
    return answer;
  } catch (error) {
    if (!isAppError(error, "idempotency_in_progress")) await deleteRequest(db, name);
    throw error;
  }
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

function sealingKey({ orgId, idempotencyKey, body }: IdempotentRequest): Buffer {
  return Buffer.from(hkdfSync("sha256", idempotencyKey, digest("salt", orgId, body), "answer of an idempotent request", 32));
}

function seal(request: IdempotentRequest, body: unknown): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", sealingKey(request), iv);
  const sealed = Buffer.concat([cipher.update(JSON.stringify(body), "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function open(request: IdempotentRequest, sealed: Buffer): unknown {
  const decipher = createDecipheriv("aes-256-gcm", sealingKey(request), sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return JSON.parse(Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8"));
}
