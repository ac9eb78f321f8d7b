import { fetchStatus } from "../outgoing/index.ts";
import type { DatabaseClient } from "@proliferate/db";
import { claimDueEvents, recordWebhookAttempt, type WebhookEventRow } from "./db.ts";
import { SIGNATURE_HEADER, signWebhook } from "./signature.ts";

/** Where messages go, and how they are signed. */
export interface WebhookOptions {
  /** Receives each message as a POST. */
  readonly url: string;
  /** Signs them; {@link signWebhook}. */
  readonly secret: string;
  /** For one call. Default 10 s. */
  readonly timeoutMs?: number;
  /** An event that could not be told for so long is given up. Default 3 days. */
  readonly giveUpAfterMs?: number;
  /** Calls at once. Default 4. */
  readonly concurrency?: number;
  /** How long an event waits after so many failed attempts. Default: longer each time. */
  readonly retryDelayMs?: (attempt: number) => number;
}

/** How many messages were delivered, and how many not. */
interface WebhookResult {
  readonly delivered: number;
  readonly failed: number;
}

const CLAIM_CHUNK_EVENTS = 50;
const FIRST_RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 60 * 60_000;

/** 10 s, doubled with each attempt up to an hour. */
const defaultRetryDelayMs = (attempt: number): number => Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 20), LONGEST_RETRY_MS);

/**
 * Tells the receiver every event that is due: `POST` with the event as JSON, signed, its id in `webhook-id`. Any 2xx is
 * success; anything else is tried again later, with the same id: a receiver may get an event twice, never not at all while
 * it answers within three days. Never throws for what the receiver does; nobody waits for it.
 */
export async function sendDueWebhooks(db: DatabaseClient, options: WebhookOptions): Promise<WebhookResult> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  let delivered = 0;
  let failed = 0;
  for (;;) {
    // A claim holds for as long as all the calls of the chunk may take, one lane after the other.
    const events = await claimDueEvents(db, { limit: CLAIM_CHUNK_EVENTS, leaseMs: timeoutMs * (CLAIM_CHUNK_EVENTS + 1) });
    const waiting = [...events];
    const lane = async (): Promise<void> => {
      for (let event = waiting.shift(); event !== undefined; event = waiting.shift()) {
        if (await sendOne(db, event, { ...options, timeoutMs })) delivered += 1;
        else failed += 1;
      }
    };
    await Promise.all(Array.from({ length: options.concurrency ?? 4 }, lane));
    if (events.length < CLAIM_CHUNK_EVENTS) return { delivered, failed };
  }
}

async function sendOne(
  db: DatabaseClient,
  event: WebhookEventRow,
  options: WebhookOptions & { readonly timeoutMs: number },
): Promise<boolean> {
  const answer = await post(event, options);
  const isDelivered = answer.status !== null && answer.status >= 200 && answer.status < 300;
  await recordWebhookAttempt(db, {
    eventId: event.event_id,
    attempt: event.attempt_count,
    delivered: isDelivered,
    status: answer.status,
    error: isDelivered ? null : (answer.error ?? `The receiver answered ${answer.status}.`),
    retryInMs: (options.retryDelayMs ?? defaultRetryDelayMs)(event.attempt_count),
    giveUpAfterMs: options.giveUpAfterMs ?? 3 * 24 * 60 * 60_000,
  });
  return isDelivered;
}

async function post(
  event: WebhookEventRow,
  options: WebhookOptions & { readonly timeoutMs: number },
): Promise<{ readonly status: number | null; readonly error?: string }> {
  const body = JSON.stringify({
    id: event.event_id,
    type: event.type,
    org_id: event.org_id,
    created_at: event.created_at.toISOString(),
    data: event.payload,
  });
  const signature = signWebhook(body, { secret: options.secret, timestampSeconds: Math.floor(Date.now() / 1_000) });
  try {
    const headers = { "content-type": "application/json", "webhook-id": event.event_id, [SIGNATURE_HEADER]: signature };
    return { status: await fetchStatus(options.url, { headers, body }, options) };
  } catch (error) {
    return { status: null, error: `The receiver cannot be reached (${(error as Error).name}).` };
  }
}
