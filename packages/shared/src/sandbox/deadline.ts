/** What {@link withDeadline} rejects with. */
export class DeadlineExceeded extends Error {
  override readonly name = "DeadlineExceeded";
}

/**
 * The promise's own outcome if it comes within `timeoutMs`, else a {@link DeadlineExceeded}. The work itself goes on; `late`
 * is given its result, so that nothing it made is forgotten, and a late failure is ignored.
 */
export async function withDeadline<T>(work: Promise<T>, timeoutMs: number, late?: (result: T) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let expired = false;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      expired = true;
      reject(new DeadlineExceeded(`no answer within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  work.then(
    (result) => expired && late?.(result),
    () => undefined,
  );
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
