import { isDatabaseUnavailable } from "@proliferate/db";
import type { Logger } from "@proliferate/runtime";
import { isAppError } from "@proliferate/shared/errors";

/** Writes problems that repeat: the first of a kind at once, then one line a period with the count of those left out. */
export interface ProblemLog {
  report(event: string, facts: Readonly<Record<string, unknown>>): void;
}

/** Where problems go, and how often one kind is repeated. */
interface ProblemLogOptions {
  readonly logger: Pick<Logger, "error">;
  /** Default one minute. */
  readonly periodMs?: number;
  readonly now?: () => number;
}

/** A kind is the event's name with the `code` of its facts. */
export function createProblemLog({ logger, periodMs = 60_000, now = performance.now.bind(performance) }: ProblemLogOptions): ProblemLog {
  const kinds = new Map<string, { lastAt: number; leftOut: number }>();
  return {
    report(event, facts) {
      const name = `${event} ${String(facts["code"])}`;
      const kind = kinds.get(name);
      if (kind && now() - kind.lastAt < periodMs) {
        kind.leftOut += 1;
        return;
      }
      logger.error(kind?.leftOut ? { ...facts, left_out: kind.leftOut } : facts, event);
      kinds.set(name, { lastAt: now(), leftOut: 0 });
    },
  };
}

/** What a log may say of an error: a code that a person can look up, and the message. */
export function errorFacts(error: unknown): { readonly code: string; readonly message: string } {
  if (isAppError(error)) return { code: error.code, message: `${error.message} ${error.fix}` };
  const message = error instanceof Error ? error.message : String(error);
  return { code: isDatabaseUnavailable(error) ? "store_unavailable" : "internal_error", message };
}
