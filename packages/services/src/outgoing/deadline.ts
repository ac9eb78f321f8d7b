/**
 * Runs work that gives up when its signal is aborted, and rejects with a `TimeoutError` after `timeoutMs` whether it does or
 * not: the answer of something that hangs is never waited for. The timer keeps the process alive and, with it, the signal: one
 * that nothing else refers to may be collected before it fires. `Infinity` waits for ever.
 */
export async function withDeadline<Result>(timeoutMs: number, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  if (timeoutMs === Number.POSITIVE_INFINITY) return work(controller.signal);
  const expired = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = Object.assign(new Error(`there was no answer within ${timeoutMs} ms`), { name: "TimeoutError" });
    controller.abort(error);
    expired.reject(error);
  }, timeoutMs);
  try {
    // `Promise.race` has a listener on both promises. So work that fails after the deadline is no unhandled rejection.
    return await Promise.race([work(controller.signal), expired.promise]);
  } finally {
    clearTimeout(timer);
  }
}
