import { isAppError } from "@proliferate/shared/errors";
import { DeadlineExceeded, withDeadline } from "@proliferate/shared/sandbox";

/** How much runs at once, and how long each is waited for. */
interface SideBySideOptions {
  /** How many at once. */
  readonly parallel: number;
  /** Milliseconds after which one is no longer waited for; its work goes on. */
  readonly limitMs: number;
}

/**
 * Works on every item, `parallel` at a time, and returns when each is done or has had its time: one that hangs holds nobody up
 * for longer than its limit. `failed` is told of each that threw, or was not done in time; it hides no other.
 */
export async function sideBySide<T>(
  items: readonly T[],
  { parallel, limitMs }: SideBySideOptions,
  work: (item: T) => Promise<void>,
  failed: (item: T, error: unknown) => void,
): Promise<void> {
  const waiting = [...items];
  const workOff = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      const current = item;
      await withDeadline(work(current), limitMs).catch((error: unknown) => failed(current, error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, workOff));
}

/** What `failed` was told, for a log: `still_at_work` for what only takes longer than is waited for. */
export function problemOf(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof DeadlineExceeded) return { code: "still_at_work", message: error.message };
  return { code: isAppError(error) ? error.code : "internal_error", message: (error as Error).message };
}
