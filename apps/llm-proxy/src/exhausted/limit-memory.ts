import type { CallerRow } from "@proliferate/access/keys";
import { type Amounts, amountsOf, usedUpPart } from "@proliferate/access/limits";
import { requireModelAllowed } from "@proliferate/access/principals";
import {
  type AdmissionRequest,
  admitAttempt,
  type AdmittedRequest,
  type ExceededPath,
  modelOf,
  requireUsable,
} from "@proliferate/access/requests";
import type { DatabaseClient } from "@proliferate/db";
import { CUT_MS, type Finding, stateOf } from "./finding.ts";
import { type FindingSource, RememberedFindings } from "./remembered-findings.ts";
import type { SharedFindings } from "./shared-findings.ts";

interface LimitMemoryOptions {
  readonly shared: Pick<SharedFindings, "find" | "tell">;
  readonly metrics: { refusedFromMemory(source: FindingSource): void };
  /** A clock that only counts, in milliseconds. Default `performance.now`. */
  readonly nowMs?: () => number;
}

/** The store's clock was read so long ago at most, or what others found cannot be dated. */
const CLOCK_KNOWN_MS = 60_000;

/**
 * Refuses again, without an admission, what the store refused a moment ago because a limit is used up. What this process found itself it knows at once; what others found
 * it asks for while the store says who calls, and what was not answered by then is not waited for.
 */
export class LimitMemory {
  readonly #options: LimitMemoryOptions;
  readonly #nowMs: () => number;
  readonly #remembered: RememberedFindings;
  readonly #asking = new Set<string>();
  #clock: { readonly storeMs: number; readonly atMs: number } | undefined;

  constructor(options: LimitMemoryOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#remembered = new RememberedFindings(this.#nowMs);
  }

  /** The store's clock said this, at `atMs` or later. */
  noteClock(storeAt: Date, atMs: number): void {
    this.#clock = { storeMs: storeAt.getTime(), atMs };
  }

  /** A request of this key is coming: asks what others found of it. Waits for nothing, and never throws. */
  lookAhead(keyHash: string): void {
    if (this.#asking.has(keyHash) || this.#remembered.has(keyHash)) return;
    this.#asking.add(keyHash);
    void this.#askOthers(keyHash).finally(() => this.#asking.delete(keyHash));
  }

  /** What the store would refuse the request with; undefined where it has to be asked. */
  refusal(caller: CallerRow, model: string, asked: Amounts): Error | undefined {
    const refusal = this.#remembered.refusal(caller, model, asked);
    if (refusal) this.#options.metrics.refusedFromMemory(refusal.source);
    return refusal?.error;
  }

  /** The store refused a request for this model. */
  found({ caller, limits, storeAt, askedAtMs }: ExceededPath, model: string): void {
    this.noteClock(storeAt, askedAtMs);
    const usedUp = usedUpPart(limits);
    if (usedUp.length === 0) return;
    const finding: Finding = { model, callerState: stateOf(caller), storeMs: storeAt.getTime(), limits: usedUp };
    this.#remembered.remember(caller.shownHash, finding, { foundAtMs: askedAtMs, source: "own" });
    void this.#options.shared.tell(caller.shownHash, finding, this.#nowMs() - askedAtMs);
  }

  /** Something was edited through this process: what was found before is not believed any more. */
  forgetAll(): void {
    this.#remembered.forgetAll();
  }

  async #askOthers(keyHash: string): Promise<void> {
    const finding = await this.#options.shared.find(keyHash);
    const [clock, now] = [this.#clock, this.#nowMs()];
    if (!finding || !clock || now - clock.atMs > CLOCK_KNOWN_MS) return;
    // Never behind the store's clock, so that nothing is taken for younger than it is.
    const ageMs = clock.storeMs + CUT_MS + now - clock.atMs - finding.storeMs;
    if (ageMs >= 0) this.#remembered.remember(keyHash, finding, { foundAtMs: now - ageMs, source: "shared" });
  }
}

/** As `admitAttempt`; what memory refuses, after everything that the store judges before limits, costs no admission. */
export async function admitRemembering(db: DatabaseClient, memory: LimitMemory, request: AdmissionRequest): Promise<AdmittedRequest> {
  const { caller, attempt, metered } = request;
  requireModelAllowed(requireUsable(caller), modelOf(request));
  request.requireNamedAllowed(caller);
  const refusal = memory.refusal(caller, attempt.model_group, amountsOf(metered));
  if (refusal) throw refusal;
  return admitAttempt(db, { ...request, onExceeded: (path) => memory.found(path, attempt.model_group) });
}
