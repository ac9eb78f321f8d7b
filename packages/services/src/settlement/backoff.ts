const FIRST_RETRY_MS = 20_000;
const LONGEST_RETRY_MS = 15 * 60_000;
const PARKED_RETRY_MS = 15 * 60_000;
const JITTER = 0.2;

interface BackoffOptions {
  /** Attempts made so far, at least 1. */
  readonly attempt: number;
  /** What the sink asked for; never undercut. */
  readonly retryAfterMs?: number;
  /** 0..1; default `Math.random()`. */
  readonly random?: number;
}

const jittered = (delayMs: number, random = Math.random()): number => Math.round(delayMs * (1 + JITTER * random));

/** After no answer or a refusal that time cures: 20 s, doubled with each attempt up to 15 min, plus up to a fifth. */
export function retryDelayMs({ attempt, retryAfterMs = 0, random }: BackoffOptions): number {
  const delayMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 20), LONGEST_RETRY_MS);
  return Math.max(jittered(delayMs, random), retryAfterMs);
}

/** After a refusal that somebody has to correct: 15 min, plus up to a fifth. */
export function parkedDelayMs({ random }: Pick<BackoffOptions, "random"> = {}): number {
  return jittered(PARKED_RETRY_MS, random);
}
