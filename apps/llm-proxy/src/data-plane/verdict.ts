import type { StreamUsageReader, UsageReading } from "@proliferate/metering/usage";
import { AppError } from "@proliferate/shared/errors";
import type { Ending, EndingError } from "./outcome.ts";
import { isKeyRejection, keyRejected, providerError } from "./provider-error.ts";
import type { Deployment } from "../config/model-table.ts";
import type { UpstreamHead } from "./upstream.ts";
import type { WholeAnswer } from "./whole-answer.ts";

/** The caller went away before its answer was over. */
export class CallerGone extends Error {
  override readonly name = "CallerGone";
}

/** An exchange with a provider that is over, as far as it came. */
export interface Exchange {
  readonly deployment: Deployment;
  readonly asksForStream: boolean;
  /** A connection had been made, so that the provider may have done the work. */
  readonly wasSent: boolean;
  readonly runMs: number;
  /** Why it did not come to an end by itself; undefined when it did. */
  readonly failure: unknown;
  readonly head: UpstreamHead | undefined;
  /** One of the two, once there is a head. */
  readonly stream: StreamUsageReader | undefined;
  readonly whole: WholeAnswer | undefined;
}

/**
 * What the caller is told:
 *
 * - `held`: the end of the answer that was held back
 * - `held_error`: the same, and it is a provider's error (an event, or a body under `status`)
 * - `error`: an error of ours, in whatever form the caller can still be told it
 */
export type Reply =
  | { readonly kind: "held"; readonly status: number }
  | { readonly kind: "held_error"; readonly status: number }
  | { readonly kind: "error"; readonly error: AppError };

/** What an exchange came to. */
export interface Verdict {
  readonly ending: Ending;
  readonly reply: Reply;
}

/** Which of the endings it was (docs/pricing.md, "Unfinished answers"). Decides nothing about money but the kind of the ending. */
export function judge(exchange: Exchange): Verdict {
  const { head, stream, failure } = exchange;
  if (stream && head) return judgeStream(exchange, stream, head);
  if (failure !== undefined || !head) return failed(exchange, exchange.whole?.read().usage);
  return isSuccess(head) ? judgeWhole(exchange, head) : judgeRefusal(exchange, head);
}

export function isSuccess({ status }: UpstreamHead): boolean {
  return status >= 200 && status < 300;
}

function judgeStream(exchange: Exchange, stream: StreamUsageReader, head: UpstreamHead): Verdict {
  const reading = stream.reading();
  const { runMs } = exchange;
  if (reading.isWhole) return { ending: { kind: "whole", reading, runMs }, reply: { kind: "held", status: head.status } };
  if (stream.terminal === "error") {
    const error = {
      code: "provider_error_event",
      kind: stream.error?.type ?? "error",
      message: "The provider ended the answer with an error event.",
    };
    return {
      ending: { kind: reading.hasOutput ? "unfinished" : "free", reading, runMs, error },
      reply: { kind: "held_error", status: head.status },
    };
  }
  return failed(exchange, reading);
}

function judgeWhole({ whole, asksForStream, runMs }: Exchange, { status }: UpstreamHead): Verdict {
  const read = whole?.read();
  const reading = read?.usage;
  if (read?.kind === "error") {
    const error = { code: "provider_error", kind: "ProviderError", message: "The provider's error came under a status of success." };
    return { ending: { kind: "free", reading, runMs, error }, reply: { kind: "held_error", status: ERROR_IN_SUCCESS_STATUS } };
  }
  if (read?.kind !== "answer") {
    const error = new AppError("provider_answer_unreadable", "What the provider answered is no answer of this API.");
    return { ending: { kind: "nothing", reading, runMs, error: endingError(error) }, reply: { kind: "error", error } };
  }
  if (!asksForStream) return { ending: { kind: "whole", reading, runMs }, reply: { kind: "held", status } };
  const error = new AppError("provider_stream_missing", "The provider answered without a stream although one was asked for.");
  return { ending: { kind: "whole", reading, runMs, error: endingError(error) }, reply: { kind: "error", error } };
}

/** A status of its own, because clients take 200 for an answer whatever the body says. */
const ERROR_IN_SUCCESS_STATUS = 502;

function judgeRefusal({ deployment, runMs }: Exchange, head: UpstreamHead): Verdict {
  const { status } = head;
  if (isKeyRejection(head)) return refused(runMs, keyRejected(deployment));
  if (status < 400)
    return refused(runMs, new AppError("provider_unreachable", `The provider answered with status ${status}, which is not followed.`));
  const error = { code: String(status), kind: "provider_error", message: "The provider refused the request." };
  return { ending: { kind: "free", runMs, error }, reply: { kind: "held_error", status } };
}

/** The provider's side failed, the caller left, or we end it ourselves. */
function failed(exchange: Exchange, reading: UsageReading | undefined): Verdict {
  const { failure, wasSent, head, runMs } = exchange;
  const error = providerError(failure ?? new Error("the provider ended the answer before its end"), wasSent);
  if (!wasSent || (head && !isSuccess(head))) return refused(runMs, error, failure);
  return { ending: { kind: "unfinished", reading, runMs, error: endingError(error, failure) }, reply: { kind: "error", error } };
}

function refused(runMs: number, error: AppError, failure?: unknown): Verdict {
  return { ending: { kind: "free", runMs, error: endingError(error, failure) }, reply: { kind: "error", error } };
}

/** An error of ours as a row tells it. */
export function endingError(error: AppError, failure?: unknown): EndingError {
  if (failure instanceof CallerGone) return CALLER_GONE;
  return { code: error.code, kind: error.name, message: error.message };
}

/** In the row of every answer that its caller did not wait for, even where it was read to its end. */
export const CALLER_GONE: EndingError = {
  code: "499",
  kind: "CallerGone",
  message: "The caller closed the connection before the end of the answer.",
};
