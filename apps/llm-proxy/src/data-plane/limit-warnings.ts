import type { CallerRow } from "@proliferate/access/keys";
import { type CountedLimit, insertLimitWarning, type LimitWarning, warningsOf } from "@proliferate/access/limits";
import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import { Counter, type Logger, type Registry, startLoop, type Stoppable } from "@proliferate/runtime";

/** What warning needs. */
interface LimitWarningsOptions {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Default 1 s. */
  readonly everyMs?: number;
}

/** So many warnings are known as told, and so many wait to be told. Who is forgotten is told again, which changes nothing. */
const MOST_KNOWN = 10_000;
const MOST_WAITING = 1_000;

/**
 * Tells the operator when 80 and 95 in a hundred of a limit are used, or a soft budget is: a line in the log, a count, and a message by
 * webhook, once for each window. Looked at with each admission and each refusal, which have read the counters anyway; so a limit that was
 * passed by its last request is told of with the next one. Nobody waits for it; while the store is away it is tried again.
 */
export class LimitWarnings implements Stoppable {
  readonly #options: LimitWarningsOptions;
  readonly #known = new Set<string>();
  readonly #waiting = new Map<string, { readonly warning: LimitWarning; readonly teamId: string | null }>();
  readonly #count: Counter<"of" | "meter" | "percent">;
  readonly #loop: Stoppable;

  constructor(options: LimitWarningsOptions) {
    this.#options = options;
    this.#count = new Counter({
      name: "llm_gateway_proxy_limit_warnings_total",
      help: "Limits of which this process saw so much used, once for each window; percent soft: a soft budget",
      labelNames: ["of", "meter", "percent"],
      registers: [options.registry],
    });
    this.#loop = startLoop("limit_warnings", options.everyMs ?? 1_000, (signal) => this.#tellAll(signal), {
      first: "after a pause",
      onError: (error) => options.logger.warn({ error: String(error) }, "limit_warnings.failed"),
      registry: options.registry,
    });
  }

  /** What is to be told of these limits: to the caller with this answer, to the operator once. */
  look(
    caller: Pick<CallerRow, "teamId" | "softBudgetUsd" | "teamSoftBudgetUsd">,
    limits: readonly CountedLimit[],
  ): readonly LimitWarning[] {
    const warnings = warningsOf(limits, { key: caller.softBudgetUsd, team: caller.teamSoftBudgetUsd });
    for (const warning of warnings) {
      const key = keyOf(warning);
      if (this.#known.has(key) || this.#waiting.size >= MOST_WAITING) continue;
      this.#remember(key);
      this.#waiting.set(key, { warning, teamId: caller.teamId });
      const { principal, meter, window } = warning.limit;
      this.#count.inc({ of: principal.kind, meter, percent: String(warning.percent ?? "soft") });
      this.#options.logger.warn({ of: principal.kind, id: principal.id, meter, window, percent: warning.percent }, "limit.warning");
    }
    return warnings;
  }

  /** Ends with what waits: it is tried once more. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#tellAll(new AbortController().signal).catch(() => undefined);
  }

  async #tellAll(signal: AbortSignal): Promise<void> {
    for (const [key, { warning, teamId }] of this.#waiting) {
      if (signal.aborted) return;
      await insertLimitWarning(this.#options.db, warning, teamId).catch((error: unknown) => {
        if (isDatabaseUnavailable(error)) throw error;
        // One that cannot be told keeps no other from it.
        this.#options.logger.error({ id: warning.limit.principal.id, error: String(error) }, "limit_warnings.not_told");
      });
      this.#waiting.delete(key);
    }
  }

  #remember(key: string): void {
    this.#known.add(key);
    const [oldest] = this.#known;
    if (this.#known.size > MOST_KNOWN && oldest !== undefined) this.#known.delete(oldest);
  }
}

function keyOf({ limit: { principal, meter, window, model, windowStart, amount }, percent }: LimitWarning): string {
  return JSON.stringify([principal.kind, principal.id, meter, window, model, windowStart, percent, amount]);
}
