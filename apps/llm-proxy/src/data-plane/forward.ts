import type { AdmittedAttempt } from "@proliferate/services/attempts/db";
import { checkpointAttempt } from "@proliferate/services/attempts/db";
import { totals } from "@proliferate/services/metering/usage-report";
import type { StreamUsageReader, UsageReading } from "@proliferate/services/metering/usage-reader";
import type { AttemptOutcome } from "@proliferate/services/spend-logs/spend-log";
import { AppError } from "@proliferate/shared/errors";
import { priceAt } from "../config/model-table.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { errorEvent, identityHeaders, sendError } from "./error-response.ts";
import { headersForCaller } from "./headers.ts";
import { checkpointOf, readAnswer, streamReader } from "./meter.ts";
import { abandoned, completed, type Ending, failed, outcomeOf, unreadable } from "./outcome.ts";
import { isKeyRejection, keyRejected, providerError } from "./provider-error.ts";
import type { Deployment } from "./route.ts";
import { type UpstreamHead, type UpstreamRequest, wasNeverConnected } from "./upstream.ts";

/** An admitted request, ready to be sent. */
export interface ForwardRequest {
  readonly call: Call;
  readonly attempt: AdmittedAttempt;
  readonly deployment: Deployment;
  readonly upstream: UpstreamRequest;
  readonly dropUsageChunk: boolean;
}

const CHECKPOINT_MS = 1_000;
/** How long the provider may take to end its answer after the event that ends it. */
const END_GRACE_MS = 1_000;
const RETRY_MS = 100;

/** The caller went away before its answer was over. */
class CallerGone extends Error {
  override readonly name = "CallerGone";
}

/**
 * Sends an admitted request on and its answer back. Resolves when the attempt is settled and the answer is over; never
 * rejects because of caller or provider. Streams pass frame by frame with back-pressure; the end of every answer waits
 * for its settlement. A caller that leaves aborts the provider's side at once.
 */
export async function forward(deps: DataPlaneDeps, request: ForwardRequest): Promise<void> {
  const { response } = request.call;
  const caller = new AbortController();
  const onClose = (): void => caller.abort(new CallerGone("the caller closed the connection"));
  response.once("close", onClose);
  if (response.destroyed) onClose();
  const relay = new Relay(deps, request);
  try {
    await relay.run(caller);
  } catch (error) {
    // Our own fault; without this the reservation would stay until the process ends. Settled before, it changes nothing.
    await relay.settle(unreadable("internal_error", "Error"));
    throw error;
  } finally {
    response.off("close", onClose);
    relay.stop();
  }
}

class Relay {
  readonly #deps: DataPlaneDeps;
  readonly #request: ForwardRequest;
  readonly #terminal = Promise.withResolvers<void>();
  readonly #chunks: Buffer[] = [];
  #head: UpstreamHead | undefined;
  #reader: StreamUsageReader | undefined;
  #firstByteAt: Date | null = null;
  #checkpoints: NodeJS.Timeout | undefined;

  constructor(deps: DataPlaneDeps, request: ForwardRequest) {
    this.#deps = deps;
    this.#request = request;
  }

  async run(caller: AbortController): Promise<void> {
    const upstreamEnd = this.#callProvider(caller.signal);
    // Whichever comes first: the event that ends a stream, the end of the answer, or its failure.
    const failure = await Promise.race([this.#terminal.promise, upstreamEnd]).then(
      () => undefined,
      (error: unknown) => error ?? new Error("the provider's answer failed"),
    );
    if (failure !== undefined) return this.#endFailed(failure);
    if (!this.#reader) return this.#endWhole();
    await this.#endStream(this.#reader, upstreamEnd, caller);
  }

  stop(): void {
    clearInterval(this.#checkpoints);
  }

  /** Only a request of which no byte can have left is sent again. */
  async #callProvider(signal: AbortSignal): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.#deps.upstreams.call(this.#request.upstream, (head) => this.#accept(head), signal);
      } catch (error) {
        if (!wasNeverConnected(error) || tries >= this.#deps.connectRetries || signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS * 2 ** tries));
      }
    }
  }

  #accept(head: UpstreamHead): (chunk: Buffer) => void {
    this.#head = head;
    const isStream = head.status === 200 && /^text\/event-stream\b/i.test(String(head.headers["content-type"] ?? ""));
    return isStream ? this.#acceptStream(head) : (chunk) => this.#chunks.push(chunk);
  }

  #acceptStream(head: UpstreamHead): (chunk: Buffer) => void {
    const { call, dropUsageChunk } = this.#request;
    const reader = streamReader(call.dialect, dropUsageChunk);
    this.#reader = reader;
    call.response.writeHead(200, this.#headers(head));
    call.response.flushHeaders();
    this.#checkpoints = setInterval(() => this.#checkpoint(reader), CHECKPOINT_MS);
    return (chunk) => {
      this.#firstByteAt ??= new Date();
      this.#send(head, reader.push(chunk));
      if (reader.terminal) this.#terminal.resolve();
    };
  }

  #send(head: UpstreamHead, pieces: readonly Uint8Array[]): void {
    const { response } = this.#request.call;
    if (response.destroyed) return;
    let isFull = false;
    for (const piece of pieces) isFull = !response.write(piece);
    if (!isFull) return;
    head.pause();
    response.once("drain", () => head.resume());
  }

  #checkpoint(reader: StreamUsageReader): void {
    const { attempt } = this.#request;
    const checkpoint = checkpointOf(reader.reading(), attempt.estimated_input_tokens, this.#firstByteAt ?? new Date());
    checkpointAttempt(this.#deps.db, attempt.attempt_id, checkpoint).catch((error: unknown) => {
      this.#deps.logger.warn({ attempt: attempt.attempt_id, error: String(error) }, "checkpoint.failed");
    });
  }

  async #endStream(reader: StreamUsageReader, upstreamEnd: Promise<void>, caller: AbortController): Promise<void> {
    const { response, dialect } = this.#request.call;
    const reading = reader.reading();
    // Some OpenAI-compatible servers leave [DONE] out; their usage chunk is the last thing they say.
    const isWhole = reader.terminal === "end" || (reader.terminal === undefined && dialect === "openai" && reading.isFinal);
    if (!isWhole && reader.terminal === undefined) {
      return this.#breakStream(reading, new AppError("provider_stream_broken", "The provider ended the answer before its end."));
    }
    await this.settle(isWhole ? completed(reading) : failed(reading, "provider_error_event", reader.error?.type ?? "error"));
    if (!response.destroyed) response.write(reader.takeRest());
    await endOrGrace(upstreamEnd);
    if (!response.destroyed) response.end();
    // Nobody waits any more for a provider that said the end and did not end.
    caller.abort(new CallerGone("the answer is over"));
  }

  async #endWhole(): Promise<void> {
    const { call, deployment } = this.#request;
    const { response, dialect } = call;
    const head = this.#head;
    const body = Buffer.concat(this.#chunks);
    if (!head) return this.#refuse(new AppError("provider_unreachable", "The provider gave no answer."));
    if (isKeyRejection(head)) {
      this.#deps.logger.error({ provider: deployment.provider, status: head.status, variable: deployment.apiKeyVariable }, "provider.key_rejected");
      return this.#refuse(keyRejected(deployment));
    }
    const ending = head.status === 200 ? completed(readAnswer(dialect, body)) : unreadable(String(head.status), "provider_error");
    const costUsd = await this.settle(ending);
    if (response.destroyed) return;
    response.writeHead(head.status, { ...this.#headers(head), "content-length": body.length, "x-litellm-response-cost": costUsd });
    response.end(body);
  }

  /** The provider's side failed, or the caller left. */
  async #endFailed(failure: unknown): Promise<void> {
    const reading = this.#reader?.reading();
    if (failure instanceof CallerGone) return void (await this.settle(abandoned(reading)));
    const error = providerError(failure);
    this.#deps.logger.warn({ attempt: this.#request.attempt.attempt_id, code: error.code, error: String(failure) }, "provider.failed");
    if (reading && this.#request.call.response.headersSent) return this.#breakStream(reading, error);
    await this.#refuse(error);
  }

  async #refuse(error: AppError): Promise<void> {
    const { response, dialect, requestId } = this.#request.call;
    await this.settle(unreadable(error.code, error.name));
    sendError(response, dialect, requestId, error);
  }

  /** A stream that did not end well must not look as if it had: an error event, and the connection is cut. */
  async #breakStream(reading: UsageReading, error: AppError): Promise<void> {
    const { response, dialect, requestId } = this.#request.call;
    await this.settle(failed(reading, error.code, error.name));
    if (response.destroyed) return;
    response.write(errorEvent(error, dialect, requestId), () => response.destroy());
  }

  /** Returns what it cost, in USD. */
  async settle(ending: Ending): Promise<string> {
    this.stop();
    const { attempt, deployment } = this.#request;
    const prices = this.#deps.models.requestPrices(attempt) ?? { own: priceAt(deployment, attempt.started_at), ofModel: () => undefined };
    const outcome = outcomeOf(attempt, prices, ending, { firstByteAt: this.#firstByteAt, endedAt: new Date() });
    await this.#deps.settler.settle(attempt, outcome);
    this.#log(outcome);
    return outcome.cost.totalUsd;
  }

  /** One line for each request; ids, counts and names only. */
  #log({ report, cost, status, estimated, endedAt, error }: AttemptOutcome): void {
    const { attempt } = this.#request;
    const durationMs = endedAt.getTime() - attempt.started_at.getTime();
    const facts = { request: attempt.attempt_id, team: attempt.team_id, model: attempt.model_group, status, estimated, usage: totals(report), spendUsd: cost.totalUsd, durationMs };
    this.#deps.logger.info(error ? { ...facts, code: error.code } : facts, "request.settled");
  }

  #headers(head: UpstreamHead): Record<string, string | string[]> {
    const { call, attempt } = this.#request;
    return { ...headersForCaller(head.headers), ...identityHeaders(call.requestId), "x-litellm-model-group": attempt.model_group };
  }
}

async function endOrGrace(upstreamEnd: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, END_GRACE_MS);
  await Promise.race([upstreamEnd.catch(() => undefined), promise]);
  clearTimeout(timer);
}
