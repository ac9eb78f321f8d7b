import { type DatabaseClient, isDatabaseUnavailable } from "@proliferate/db";
import type { Logger, Stoppable } from "@proliferate/runtime";
import { type CallerRow, findCaller } from "@proliferate/access/keys";
import { type Amounts, amountsOf, checkLimits, type CountedLimit, limitError } from "@proliferate/access/limits";
import { requireModelAllowed } from "@proliferate/access/principals";
import {
  type AdmissionRequest,
  type AdmittedAttempt,
  type AdmittedRequest,
  type AttemptOutcome,
  beforeMsOf,
  modelOf,
  requireUsable,
  spooledAttempt,
} from "@proliferate/access/requests";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, compareDecimals, type DecimalText } from "@proliferate/shared/money";
import type { KnownCallers } from "./known-callers.ts";
import type { Spool } from "./spool.ts";
import type { StoreWatch } from "./store-watch.ts";

/** What the absence of the store means where it is not the end of service. */
export interface GraceSettings {
  /** So long after the store went away requests are taken; then they are refused until it is back. */
  readonly mostMs: number;
  /** What one key may have open at once that is not on record: worst cases of what runs, costs of what is over. */
  readonly mostUsdPerKey: DecimalText;
  /** Keys are known that were seen within this time. */
  readonly knownMs: number;
  readonly spoolFolder: string;
  readonly spoolBytes: number;
}

/** Why a request is not taken, as the metric names it. */
export type GraceRefusal = (typeof GRACE_REFUSALS)[number];
export const GRACE_REFUSALS = ["over", "unknown", "limit", "usd", "spool"] as const;

interface GraceOptions {
  readonly db: DatabaseClient;
  readonly settings: Pick<GraceSettings, "mostMs" | "mostUsdPerKey">;
  readonly watch: StoreWatch;
  readonly known: KnownCallers;
  readonly spool: Spool;
  readonly logger: Logger;
  /** Told that something is ready to be put on record. */
  readonly onSettled: () => void;
  readonly metrics: { graceAdmitted(): void; graceRefused(reason: GraceRefusal): void };
  /** A question about who calls that takes longer makes the store be looked at. Default 2 s. */
  readonly overdueMs?: number;
}

/**
 * Serves keys that are known while the store is away, within bounds, and keeps what they took in the spool. A request is judged by what
 * the store said last of its key and its limits, and by what this process has taken up since; in doubt it is refused as if there were no grace.
 */
export class Grace implements Stoppable {
  readonly #options: GraceOptions;

  constructor(options: GraceOptions) {
    this.#options = options;
  }

  /** Whether requests are judged here now, and not by the store. */
  get isAbsent(): boolean {
    return this.#options.watch.isAbsent;
  }

  /** Whether requests can be taken now, as far as time goes. */
  get isOpen(): boolean {
    return this.isAbsent && this.#options.watch.absentMs <= this.#options.settings.mostMs;
  }

  /**
   * As `findCaller`; while the store is away, the key as it was seen last. Throws `store_unavailable` for one that is not known, and what
   * the store throws where it is not away.
   */
  async findCaller(shownHash: string): Promise<CallerRow | undefined> {
    const { watch, known, db } = this.#options;
    if (watch.isAbsent) return this.#knownCaller(shownHash);
    try {
      const caller = await this.#unlessOverdue(findCaller(db, shownHash));
      if (caller === "overdue") return this.#knownCaller(shownHash);
      if (caller) known.seen(caller);
      else known.forget(shownHash);
      return caller;
    } catch (error) {
      if (isDatabaseUnavailable(error) && (await watch.isGone())) return this.#knownCaller(shownHash);
      throw error;
    }
  }

  /** A statement failed: makes the store be looked at if it is away, so that the next request need not find out. */
  suspect(error: unknown): void {
    if (isDatabaseUnavailable(error)) void this.#options.watch.isGone();
  }

  /** A request was admitted or settled by the store. */
  touched({ key_hash: keyHash, model_group: model }: Pick<AdmittedAttempt, "key_hash" | "model_group">): void {
    this.#options.known.touched(keyHash, model);
  }

  /**
   * As `admitAttempt`, without the store: when it resolves, the request is on the disk. Throws the 401s, `model_not_allowed`, what `limitError` says of a
   * limit that was used up when it was read, and `store_unavailable` for whatever is in doubt.
   */
  async admit(request: AdmissionRequest): Promise<AdmittedRequest> {
    const { caller, attempt } = request;
    const { known, spool, settings, metrics } = this.#options;
    if (!this.isOpen) throw this.#refusal("over");
    const now = known.now();
    const path = known.path(caller.shownHash, attempt.model_group);
    if (!now || !path) throw this.#refusal("unknown");
    const expired = caller.expires !== null && caller.expires.getTime() <= now.getTime();
    requireModelAllowed(requireUsable({ ...caller, expired }), modelOf(request));
    request.requireNamedAllowed(caller);
    const asked = amountsOf(request.metered);
    this.#requireRoom(path.limits, asked, now);
    const worstUsd = asked.get("usd")?.most ?? "0";
    if (compareDecimals(addDecimals(spool.open.usdOf(caller.keyHash), worstUsd), settings.mostUsdPerKey) > 0) throw this.#refusal("usd");
    if (!spool.hasRoom()) throw this.#refusal("spool");
    const startedAt = new Date(now.getTime() - beforeMsOf(request.runningMs()));
    const spooled = spooledAttempt(request, { limits: path.limits, asked, startedAt });
    // It counts from here on, while it is being written: nothing is awaited between the judgement and this.
    await spool.admit(spooled).catch((error: unknown) => {
      this.#options.logger.error({ error: String(error) }, "spool.not_written");
      throw this.#refusal("spool");
    });
    metrics.graceAdmitted();
    // How its limits stand nobody can say without the store, so its answer says nothing of them.
    return { ...spooled, reservations: null, limits: [] };
  }

  /** Keeps the outcome of a request that was admitted here; false for any other. Resolves when it is on the disk. Never rejects. */
  async settle({ attempt_id: attemptId }: Pick<AdmittedAttempt, "attempt_id">, outcome: AttemptOutcome): Promise<boolean> {
    const { spool } = this.#options;
    if (!spool.has(attemptId)) return false;
    await spool.settle(attemptId, outcome);
    this.#options.onSettled();
    return true;
  }

  async stop(): Promise<void> {
    await this.#options.spool.close();
  }

  #refusal(reason: GraceRefusal): AppError {
    this.#options.metrics.graceRefused(reason);
    return new AppError("store_unavailable", `The gateway's database cannot be reached${REASONS[reason]}.`, { retryAfterSeconds: 1 });
  }

  #knownCaller(shownHash: string): CallerRow {
    const caller = this.isOpen ? this.#options.known.caller(shownHash) : undefined;
    if (!caller) throw this.#refusal(this.isOpen ? "unknown" : "over");
    return caller;
  }

  /** Only of questions: what they change is nothing, so one that is answered late does no harm. */
  async #unlessOverdue<Answer>(answer: Promise<Answer>): Promise<Answer | "overdue"> {
    let timer: NodeJS.Timeout | undefined;
    const overdue = new Promise<"overdue">((resolve) => {
      const look = async (): Promise<void> => {
        if (await this.#options.watch.isGone()) resolve("overdue");
      };
      timer = setTimeout(() => void look(), this.#options.overdueMs ?? 2_000);
    });
    answer.catch(() => undefined);
    return Promise.race([answer, overdue]).finally(() => clearTimeout(timer));
  }

  /** What is known to be used up is refused as ever. What has no room by what is known, but may have some, is in doubt. */
  #requireRoom(limits: readonly CountedLimit[], asked: Amounts, now: Date): void {
    const current = limits.map((limit) => asOf(limit, now));
    const verdict = checkLimits(current, asked);
    if (verdict.kind === "exceeded") {
      this.#options.metrics.graceRefused("limit");
      throw limitError(verdict);
    }
    const worst = new Map([...asked].map(([meter, { most }]) => [meter, { least: most, most }]));
    const withOpen = current.map((limit) => ({ ...limit, reserved: addDecimals(limit.reserved, this.#options.spool.open.of(limit)) }));
    if (checkLimits(withOpen, worst).kind !== "fits") throw this.#refusal("limit");
  }
}

/** What it says at that moment: a window that is over begins anew, once. */
function asOf(limit: CountedLimit, now: Date): CountedLimit {
  const leftMs = Date.parse(limit.windowEnd) - now.getTime();
  if (Number.isNaN(leftMs)) return limit;
  return leftMs > 0 ? { ...limit, secondsLeft: Math.ceil(leftMs / 1_000) } : { ...limit, used: "0", reserved: "0", secondsLeft: 0 };
}

const REASONS: Readonly<Record<GraceRefusal, string>> = {
  over: "",
  unknown: ", and this key was not seen here lately",
  limit: ", and whether this request has room in its limits cannot be said without it",
  usd: ", and this key has as much open as it may have without it",
  spool: "",
};
