import type { CallerRow } from "@proliferate/access/keys";
import { type Amounts, checkLimits, type CountedLimit, limitError, usedUpPart } from "@proliferate/access/limits";
import type { AppError } from "@proliferate/shared/errors";
import { BELIEVED_MS, CUT_MS, type Finding, stateOf } from "./finding.ts";

/** Who asked the store: this process, or another one. */
export type FindingSource = (typeof FINDING_SOURCES)[number];
export const FINDING_SOURCES = ["own", "shared"] as const;

interface Remembered {
  readonly finding: Finding;
  readonly source: FindingSource;
  /** Not after the store's clock said `storeMs`, by the clock of this process. */
  readonly foundAtMs: number;
  /** From then on it is not believed. */
  readonly endsAtMs: number;
}

const MOST_KEYS = 10_000;
const MOST_MODELS_PER_KEY = 8;

/**
 * What this process believes for a moment: which keys the store would refuse, because a limit of their path is used up. A finding ends after
 * {@link BELIEVED_MS}, or before with the first of its windows that does, or once key or team are not what they were. Nobody is admitted by it:
 * what it does not refuse, the store judges.
 */
export class RememberedFindings {
  readonly #nowMs: () => number;
  readonly #keys = new Map<string, Map<string, Remembered>>();
  #forgottenAtMs = Number.NEGATIVE_INFINITY;

  /** `nowMs`: a clock that only counts, in milliseconds. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Keys of which something is kept, believed or not. */
  get size(): number {
    return this.#keys.size;
  }

  /** The store said this, and its clock said `storeMs` at `foundAtMs` or later. */
  remember(keyHash: string, finding: Finding, { foundAtMs, source }: Pick<Remembered, "foundAtMs" | "source">): void {
    // Read before an edit that was made here.
    if (foundAtMs <= this.#forgottenAtMs) return;
    const endsAtMs = Math.min(
      foundAtMs + BELIEVED_MS,
      ...finding.limits.map((limit) => foundAtMs + msLeft(limit, finding.storeMs) - CUT_MS),
    );
    if (!(this.#nowMs() < endsAtMs) || usedUpPart(finding.limits).length !== finding.limits.length) return;
    const models = this.#keys.get(keyHash) ?? new Map<string, Remembered>();
    models.delete(finding.model);
    models.set(finding.model, { finding, source, foundAtMs, endsAtMs });
    keepNewest(models, MOST_MODELS_PER_KEY);
    this.#keys.delete(keyHash);
    this.#keys.set(keyHash, models);
    keepNewest(this.#keys, MOST_KEYS);
  }

  /** Something was edited here: what was read until now is not believed any more. */
  forgetAll(): void {
    this.#forgottenAtMs = this.#nowMs();
    this.#keys.clear();
  }

  /** Whether anything is believed of the key now. */
  has(keyHash: string): boolean {
    const now = this.#nowMs();
    return [...(this.#keys.get(keyHash)?.values() ?? [])].some(({ endsAtMs }) => now < endsAtMs);
  }

  /** What the store would refuse the request with, as it would say it now; undefined where the store has to be asked. */
  refusal(caller: CallerRow, model: string, asked: Amounts): { readonly error: AppError; readonly source: FindingSource } | undefined {
    const remembered = this.#keys.get(caller.shownHash)?.get(model);
    if (!remembered) return undefined;
    const [{ finding, source, foundAtMs, endsAtMs }, now] = [remembered, this.#nowMs()];
    if (now >= endsAtMs || finding.callerState !== stateOf(caller)) return undefined;
    const limits = finding.limits.map((limit) => ({ ...limit, secondsLeft: secondsLeft(limit, finding.storeMs + now - foundAtMs) }));
    const verdict = checkLimits(limits, asked);
    // A limit before the used-up one that has too little for this request: how much that is, the store has to say.
    if (verdict.kind !== "exceeded" || verdict.limit !== limits.at(-1)) return undefined;
    return { error: limitError(verdict), source };
  }
}

/** Until its window ends, from a moment of the store's clock on; without an end Infinity, and NaN where nobody can say. */
function msLeft({ windowEnd }: CountedLimit, storeMs: number): number {
  return windowEnd === "infinity" ? Number.POSITIVE_INFINITY : Date.parse(windowEnd) - storeMs;
}

/** As the store counts them: whole, and begun ones count. */
function secondsLeft(limit: CountedLimit, storeMs: number): number | null {
  const left = msLeft(limit, storeMs);
  return left === Number.POSITIVE_INFINITY ? null : Math.max(0, Math.ceil(left / 1_000));
}

function keepNewest<Value>(map: Map<string, Value>, most: number): void {
  const [oldest] = map.keys();
  if (map.size > most && oldest !== undefined) map.delete(oldest);
}
