import { setTimeout } from "node:timers/promises";
import type { LimitWarning } from "@proliferate/access/limits";
import type { AdmittedRequest, AttemptOutcome } from "@proliferate/access/requests";
import { dearerReading, type RequestPrices } from "@proliferate/metering/pricing";
import type { StreamUsageReader } from "@proliferate/metering/usage";
import { AppError } from "@proliferate/shared/errors";
import type { Asked, Dialect } from "../dialects/dialect.ts";
import { type Deployment, type ModelTable, priceAt } from "../config/model-table.ts";
import { AttemptClock } from "./attempt-clock.ts";
import type { Call } from "./call.ts";
import { CallerAnswer } from "./caller-answer.ts";
import type { DataPlaneDeps } from "./deps.ts";
import type { DetachedRead } from "./detached-reads.ts";
import { asAppError, errorEvent, identityHeaders, sendError } from "./error-response.ts";
import { headersForCaller } from "./headers.ts";
import { limitHeaders } from "./limit-headers.ts";
import { checkpointOf, reportSoFar } from "./meter.ts";
import { type Ending, outcomeOf } from "./outcome.ts";
import { logFailure, logSettled } from "./request-log.ts";
import { errorTextForCaller, pauseBeforeRepeat } from "./provider-error.ts";
import {
  type LastPiece,
  MOST_TRANSLATED_ANSWER_BYTES,
  TranslatedAnswer,
  type Translation,
  translationHeaders,
} from "../translation/translated-answer.ts";
import type { UpstreamHead, UpstreamRequest } from "./upstream.ts";
import { CALLER_GONE, CallerGone, endingError, type Exchange, isSuccess, judge, type Reply, type Verdict } from "./verdict.ts";
import { WholeAnswer } from "./whole-answer.ts";

/** An admitted request, ready to be sent. */
interface ForwardRequest {
  readonly call: Call;
  readonly attempt: AdmittedRequest;
  /** What of its limits the caller is warned of. */
  readonly warnings: readonly LimitWarning[];
  readonly models: ModelTable;
  readonly deployment: Deployment;
  /** What the provider speaks here. */
  readonly dialect: Dialect;
  /** Where that is not what the caller speaks. */
  readonly translation: Translation | undefined;
  readonly upstream: UpstreamRequest;
  readonly asksForStream: boolean;
  readonly dropUsageChunk: boolean;
  /** What of the request the answer's bill depends on. */
  readonly asked: Asked;
}

/** How long the provider may take to end its answer after the event that ends it. */
const END_GRACE_MS = 1_000;
/** The least pause before a request is sent again; doubled from try to try. */
const REPEAT_MS = 100;
/** No answer is larger, not even with the probabilities of twenty alternatives to each token; an endless one has an end here. */
const ANSWER_LIMIT_BYTES = 1024 * 1024 * 1024;
/** Made once: an error with its stack for every request that goes well costs more than the rest of its end. */
const ANSWER_IS_OVER = new CallerGone("the answer is over");
/** An error is a sentence. */
const REFUSAL_LIMIT_BYTES = 256 * 1024;

/**
 * Sends an admitted request on and its answer back. Resolves when the attempt is settled and the answer is over; never
 * rejects because of caller or provider. Answers pass piece by piece with back-pressure, and the end of each waits for its
 * settlement. When the caller leaves, the answer is read on within bounds, because only its end says what it cost.
 */
export async function forward(deps: DataPlaneDeps, request: ForwardRequest): Promise<void> {
  const relay = new Relay(deps, request);
  try {
    await relay.run();
  } catch (error) {
    // Our own fault; without this the reservation would stay until the process ends. Settled before, it changes nothing.
    await relay.giveUp();
    throw error;
  } finally {
    relay.stop();
  }
}

class Relay {
  readonly #deps: DataPlaneDeps;
  readonly #request: ForwardRequest;
  readonly #caller: CallerAnswer;
  readonly #clock: AttemptClock;
  /** Aborting it ends the provider's side. */
  readonly #provider = new AbortController();
  readonly #terminal = Promise.withResolvers<void>();
  readonly #undo: (() => void)[] = [];
  #head: UpstreamHead | undefined;
  #stream: StreamUsageReader | undefined;
  #whole: WholeAnswer | undefined;
  #translated: TranslatedAnswer | undefined;
  /** The end of a translated answer: what comes behind it is nobody's. */
  #last: LastPiece | undefined;
  #sentAt: number | undefined;
  #bytes = 0;
  #firstByteAt: Date | null = null;
  #endCheckpoints: (() => void) | undefined;
  #detached: DetachedRead | undefined;

  constructor(deps: DataPlaneDeps, request: ForwardRequest) {
    this.#deps = deps;
    this.#request = request;
    this.#caller = new CallerAnswer(request.call.response);
    this.#clock = new AttemptClock(request.attempt, request.call.startedAtMs);
  }

  async run(): Promise<void> {
    this.#undo.push(
      this.#deps.shutdown.onEnd((reason) => this.#provider.abort(reason)),
      this.#caller.onGone(() => this.#detach()),
      this.#deps.heldAnswers.read(() =>
        [this.#stream, this.#whole, this.#translated].reduce((sum, part) => sum + (part?.heldBytes ?? 0), 0),
      ),
    );
    const providerEnd = this.#askProvider();
    // Whichever comes first: the event that ends a stream, the end of the answer, or its failure.
    const failure = await Promise.race([this.#terminal.promise, providerEnd]).then(
      () => undefined,
      (error: unknown) => error ?? new Error("the provider's answer failed"),
    );
    const { ending, reply } = this.#translateEnd(judge(this.#exchange(failure)));
    if (reply.kind === "error") this.#logFailure(reply.error, failure);
    const costUsd = await this.settle(ending);
    this.#tell(reply, costUsd);
    if (this.#stream?.terminal)
      await Promise.race([providerEnd.catch(() => undefined), setTimeout(END_GRACE_MS, undefined, { ref: false })]);
    if (!(reply.kind === "error" && this.#whole?.isPassing)) this.#caller.end();
  }

  stop(): void {
    this.#endCheckpoints?.();
    this.#detached?.end();
    for (const undo of this.#undo) undo();
    // Nobody waits any more for a provider that said the end and did not end.
    this.#provider.abort(ANSWER_IS_OVER);
  }

  async giveUp(): Promise<void> {
    const error = { code: "internal_error", kind: "Error", message: "The gateway failed to handle the answer." };
    await this.settle({ kind: this.#sentAt === undefined ? "free" : "unfinished", runMs: this.#runMs(), error });
  }

  #exchange(failure: unknown): Exchange {
    const { deployment, asksForStream } = this.#request;
    return {
      deployment,
      asksForStream,
      failure,
      wasSent: this.#sentAt !== undefined,
      runMs: this.#runMs(),
      head: this.#head,
      stream: this.#stream,
      whole: this.#whole,
    };
  }

  #runMs(): number {
    return this.#sentAt === undefined ? 0 : performance.now() - this.#sentAt;
  }

  /** A request is sent again only where it cannot have been charged: no connection was made, or it was refused before any work. */
  async #askProvider(): Promise<void> {
    const { signal } = this.#provider;
    const { count, afterMs } = this.#deps.retries;
    for (let tries = 0; ; tries += 1) {
      const pauseMs = Math.max(afterMs, REPEAT_MS * 2 ** tries);
      const isLast = tries >= count;
      const next = await this.#askOnce(isLast, pauseMs).catch((error: unknown) => {
        if (this.#sentAt !== undefined || isLast || signal.aborted) throw error;
        return pauseMs;
      });
      if (next === undefined) return;
      this.#sentAt = undefined;
      await setTimeout(next, undefined, { signal }).catch(() => {
        throw signal.reason as Error;
      });
    }
  }

  /** Resolves with the pause before it is asked again, or with undefined when what came is the answer. */
  async #askOnce(isLast: boolean, pauseMs: number): Promise<number | undefined> {
    let pause: number | undefined;
    const { signal } = this.#provider;
    const refusal = new AbortController();
    await this.#deps.upstreams
      .call(
        this.#request.upstream,
        {
          onSent: () => this.#begin(),
          onHead: (head) => {
            pause = isLast ? undefined : pauseBeforeRepeat(head, pauseMs);
            if (pause === undefined) return this.#accept(head);
            let bytes = 0;
            return (chunk) => void ((bytes += chunk.length) > REFUSAL_LIMIT_BYTES && refusal.abort(new Error("a refusal without end")));
          },
        },
        AbortSignal.any([signal, refusal.signal]),
      )
      .catch((error: unknown) => {
        if (pause === undefined || signal.aborted) throw error;
      });
    return pause;
  }

  #begin(): void {
    this.#sentAt = performance.now();
    if (this.#makesHiddenOutput()) this.#checkpointAlways();
  }

  #checkpointAlways(): void {
    const { attempt } = this.#request;
    this.#endCheckpoints ??= this.#deps.checkpoints.follow(attempt.attempt_id, {
      read: () => ({ ...checkpointOf(this.#stream?.reading(), attempt.estimated_input_tokens, this.#firstByteAt), ...this.#served() }),
      // Of hidden output more was made with every second, of other output no more than what came.
      progress: () => (this.#makesHiddenOutput() ? performance.now() : this.#bytes),
    });
  }

  #makesHiddenOutput(): boolean {
    return this.#request.attempt.hidden_tokens_per_second > 0;
  }

  #accept(head: UpstreamHead): (chunk: Buffer) => void {
    const { dialect, translation, asksForStream, dropUsageChunk, asked } = this.#request;
    this.#head = head;
    // It is not asked for again.
    this.#request.upstream.body.release();
    if (this.#caller.isGone) head.resume();
    if (translation) this.#translated = this.#translate(translation);
    if (isSuccess(head) && /^text\/event-stream\b/i.test(String(head.headers["content-type"] ?? ""))) {
      this.#stream = dialect.streamReader({ dropUsageChunk, ...asked });
      this.#caller.beginStream(head.status, this.#headers(head));
      this.#checkpointAlways();
      this.#undo.push(this.#deps.pings.follow({ sends: () => this.#caller.sends, ping: () => this.#ping() }));
    } else {
      const passes = isSuccess(head) && !asksForStream && !translation;
      this.#whole = new WholeAnswer(dialect, { passes, asked, ...(translation && { holdBytes: MOST_TRANSLATED_ANSWER_BYTES }) });
    }
    return (chunk) => this.#take(head, chunk);
  }

  /** Between two frames of the provider, and not once its end has come. */
  #ping(): void {
    const { ping } = this.#request.call.dialect;
    if (ping !== undefined && this.#stream?.isBetweenFrames) this.#caller.sendPing(ping);
  }

  #take(head: UpstreamHead, chunk: Buffer): void {
    this.#bytes += chunk.length;
    this.#detached?.count(chunk.length);
    const limit = isSuccess(head) ? ANSWER_LIMIT_BYTES : REFUSAL_LIMIT_BYTES;
    if (this.#bytes > limit) {
      return this.#provider.abort(
        new AppError("provider_answer_too_large", `The provider's answer is larger than ${limit / 1024 / 1024} MB.`),
      );
    }
    this.#firstByteAt ??= this.#clock.now();
    if (this.#stream) {
      const wasOver = this.#stream.terminal !== undefined;
      const pieces = this.#stream.push(chunk);
      if (this.#last === undefined) this.#caller.send(this.#translated?.push(pieces) ?? pieces, head);
      if (wasOver || this.#stream.terminal === undefined) return;
      // What follows the end is not piled up while that waits for its settlement.
      head.pause();
      this.#terminal.resolve();
    } else if (this.#whole) {
      const pieces = this.#whole.push(chunk);
      if (pieces.length > 0 && !this.#caller.hasBegun) this.#caller.begin(head.status, this.#headers(head));
      this.#caller.send(pieces, head);
    }
  }

  /** The caller left: the answer is read on for its usage where there is room for that, and given up otherwise. */
  #detach(): void {
    const gone = new CallerGone("the caller closed the connection");
    const giveUp = (): void => this.#provider.abort(gone);
    if (this.#sentAt === undefined) return giveUp();
    this.#detached = this.#deps.detachedReads.begin(this.#request.attempt.key_hash, giveUp);
    if (!this.#detached) return giveUp();
    if (!this.#stream?.terminal) this.#head?.resume();
  }

  #tell(reply: Reply, costUsd: string): void {
    if (reply.kind === "error") return this.#tellError(reply.error);
    const { bytes, status } = this.#last ?? { bytes: this.#restFor(reply), status: reply.status };
    this.#head?.resume();
    if (!this.#head || this.#caller.isGone) return;
    const costHeader = reply.kind === "held" ? { "x-litellm-response-cost": costUsd } : {};
    if (!this.#caller.hasBegun) this.#caller.begin(status, { ...this.#headers(this.#head), "content-length": bytes.length, ...costHeader });
    this.#caller.sendRest(bytes);
  }

  /** What was held back of the answer, as the caller may read it. */
  #restFor(reply: Reply): Uint8Array {
    const rest = this.#stream?.takeRest() ?? this.#whole?.rest() ?? Buffer.alloc(0);
    if (reply.kind === "held") return rest;
    const { deployment, call } = this.#request;
    return Buffer.from(errorTextForCaller(Buffer.from(rest).toString("utf8"), { apiKey: deployment.apiKey, requestId: call.requestId }));
  }

  #translate(translation: Translation): TranslatedAnswer {
    const { call, attempt, deployment } = this.#request;
    return new TranslatedAnswer({
      translation,
      requestId: call.requestId,
      model: attempt.requested_model ?? deployment.modelName,
      startedAt: attempt.started_at,
      // The bill's own reading of a provider that contradicts itself.
      report: () =>
        dearerReading(this.#prices(), reportSoFar(this.#stream?.reading() ?? this.#whole?.read().usage, attempt.estimated_input_tokens)),
    });
  }

  /** Before it is settled, so that an answer that cannot be told ends as an error in its row, too. */
  #translateEnd(verdict: Verdict): Verdict {
    const { ending, reply } = verdict;
    if (!this.#translated || reply.kind === "error" || this.#caller.isGone) return verdict;
    try {
      const isComplete = this.#whole?.isComplete ?? true;
      this.#last = this.#translated.last(reply, this.#restFor(reply), { isStream: this.#stream !== undefined, isComplete });
      return verdict;
    } catch (thrown) {
      const error = asAppError(thrown);
      return { ending: { ...ending, error: endingError(error) }, reply: { kind: "error", error } };
    }
  }

  /** As an answer of its own, as an event of a stream that has begun, or, in the middle of a JSON text, by cutting it. */
  #tellError(error: AppError): void {
    const { call, attempt, warnings } = this.#request;
    const { response, dialect, requestId } = call;
    if (!this.#caller.hasBegun) return sendError(response, dialect, requestId, error, limitHeaders(dialect, attempt.limits, warnings));
    if (this.#stream) this.#caller.sendRest(errorEvent(response, dialect, requestId, error));
    else this.#caller.cut();
  }

  /** Returns what it cost, in USD. */
  async settle(ending: Ending): Promise<string> {
    this.#endCheckpoints?.();
    const { attempt } = this.#request;
    const wasLeft = this.#caller.isGone && ending.kind !== "free";
    const outcome = outcomeOf(attempt, this.#prices(), wasLeft ? { ...ending, error: CALLER_GONE } : ending, {
      firstByteAt: this.#firstByteAt,
      endedAt: this.#clock.now(),
    });
    await this.#deps.settler.settle(attempt, { ...outcome, ...this.#served() });
    logSettled(this.#deps.logger, attempt, outcome);
    return outcome.cost.totalUsd;
  }

  /** Where the provider does not speak what the caller does, the row says what it spoke. */
  #served(): Pick<AttemptOutcome, "servedCallType"> {
    const { translation, dialect } = this.#request;
    return translation ? { servedCallType: dialect.callType } : {};
  }

  #prices(): RequestPrices {
    const { attempt, models, deployment } = this.#request;
    return models.requestPrices(attempt) ?? { own: priceAt(deployment, attempt.started_at), ofModel: () => undefined };
  }

  #logFailure(error: AppError, failure: unknown): void {
    const { attempt, deployment } = this.#request;
    logFailure(this.#deps.logger, { attemptId: attempt.attempt_id, deployment, status: this.#head?.status, error, failure });
  }

  #headers(head: UpstreamHead): Record<string, string | string[]> {
    const { call, attempt, warnings, translation } = this.#request;
    return {
      ...headersForCaller(head.headers, { hasLimits: translation !== undefined || attempt.limits.some(({ amount }) => amount !== null) }),
      ...(translation && translationHeaders(translation, this.#stream !== undefined)),
      ...limitHeaders(call.dialect, attempt.limits, warnings),
      ...identityHeaders(call.requestId),
      "x-litellm-model-group": attempt.model_group,
      // The caller's text: what no header may hold is escaped.
      ...(attempt.requested_model != null && { "x-gateway-requested-model": encodeURI(attempt.requested_model.toWellFormed()) }),
    };
  }
}
