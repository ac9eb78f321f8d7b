/** What {@link withDeadline} rejects with. */
export class DeadlineExceeded extends Error {
  override readonly name = "DeadlineExceeded";
}

/** What becomes of work that is given up. */
interface DeadlineOptions<T> {
  /** Given the result of work that was given up, so that nothing it made is forgotten; a late failure is ignored. */
  readonly late?: ((result: T) => void) | undefined;
  /** Gives the work up at once, with this signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The promise's own outcome if it comes within `timeoutMs` and before the signal, else a {@link DeadlineExceeded}, or the
 * signal's reason. The work itself goes on.
 */
export async function withDeadline<T>(work: Promise<T>, timeoutMs: number, { late, signal }: DeadlineOptions<T> = {}): Promise<T> {
  let isGivenUp = false;
  const givenUp = Promise.withResolvers<never>();
  const giveUp = (reason: unknown): void => {
    isGivenUp = true;
    givenUp.reject(reason);
  };
  const timer = setTimeout(() => giveUp(new DeadlineExceeded(`no answer within ${timeoutMs} ms`)), timeoutMs);
  const onAbort = (): void => giveUp(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  work.then(
    (result) => isGivenUp && late?.(result),
    () => undefined,
  );
  if (signal?.aborted) onAbort();
  try {
    return await Promise.race([work, givenUp.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
