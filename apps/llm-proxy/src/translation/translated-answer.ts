import { AnswerTranslation, type AnswerUsage, type Codec, translateError } from "@proliferate/conversation";
import { totals, type UsageReport } from "@proliferate/metering/usage";
import { AppError } from "@proliferate/shared/errors";
import type { Dialect } from "../dialects/dialect.ts";
import type { TranslatedBody } from "./translator.ts";

/** How a request was translated, for the way back of its answer. */
export interface Translation {
  /** What the provider was asked in. */
  readonly dialect: Dialect;
  readonly from: Codec;
  readonly to: Codec;
  readonly request: Omit<TranslatedBody, "bytes">;
}

interface TranslatedAnswerOptions {
  readonly translation: Translation;
  readonly requestId: string;
  /** As the caller asked for it. */
  readonly model: string;
  readonly startedAt: Date;
  /** What is billed, as far as it is known. */
  readonly report: () => UsageReport;
}

/** How the provider's side of an answer came to its end. */
interface EndedAnswer {
  readonly isStream: boolean;
  readonly isComplete: boolean;
}

/** What the caller gets at the end of an answer; the status counts where nothing was sent yet. */
export interface LastPiece {
  readonly status: number;
  readonly bytes: Uint8Array;
}

/** A whole answer that is translated has an end; it is held, and the largest one of today's models is a tenth of this. */
export const MOST_TRANSLATED_ANSWER_BYTES = 8 * 1024 * 1024;

/** An answer on its way from the provider's dialect to the caller's. What it says of tokens is what is billed. */
export class TranslatedAnswer {
  readonly #options: TranslatedAnswerOptions;
  readonly #answer: AnswerTranslation;

  constructor(options: TranslatedAnswerOptions) {
    const { translation, requestId, model, startedAt, report } = options;
    this.#options = options;
    this.#answer = new AnswerTranslation({
      // From the provider to the caller: the other way round.
      from: translation.to,
      to: translation.from,
      request: translation.request,
      id: requestId,
      model,
      createdAtSeconds: Math.floor(startedAt.getTime() / 1_000),
      usage: () => usageOf(report()),
    });
  }

  get heldBytes(): number {
    return this.#answer.heldBytes;
  }

  /** Throws as `AnswerTranslation.push`. */
  push(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
    return this.#answer.push(pieces);
  }

  /**
   * The end of the answer: `rest` is what was held back of it. Throws `provider_answer_too_large` and `provider_answer_unreadable`.
   *
   * `isComplete`: of an answer that is no stream nothing was let go.
   */
  last(
    reply: { readonly kind: "held" | "held_error"; readonly status: number },
    rest: Uint8Array,
    { isStream, isComplete }: EndedAnswer,
  ): LastPiece {
    const { status } = reply;
    if (isStream) {
      const frames = this.#answer.push([rest]);
      return { status, bytes: Buffer.concat(reply.kind === "held" ? [...frames, this.#answer.end()] : frames) };
    }
    const text = Buffer.from(rest).toString("utf8");
    if (reply.kind === "held_error") return this.#error(text, status);
    if (isComplete) return { status, bytes: this.#answer.whole(text) };
    const most = MOST_TRANSLATED_ANSWER_BYTES / 1024 / 1024;
    throw new AppError("provider_answer_too_large", `An answer that is translated has ${most} MB at most.`);
  }

  #error(text: string, status: number): LastPiece {
    const { translation, requestId } = this.#options;
    const { status: told, body } = translateError(text, status, translation.to, translation.from, requestId);
    return { status: told, bytes: Buffer.from(body) };
  }
}

function usageOf(report: UsageReport): AnswerUsage {
  const usage = totals(report);
  return {
    inputTokens: usage.inputTokens + usage.audioInputTokens,
    cacheReadTokens: usage.cacheReadTokens + usage.audioCacheReadTokens,
    cacheWrite5mTokens: usage.cacheWrite5mTokens,
    cacheWrite1hTokens: usage.cacheWrite1hTokens,
    outputTokens: usage.outputTokens + usage.audioOutputTokens,
    reasoningTokens: usage.reasoningTokens,
  };
}

/** What the caller is told of its translation: in which dialect the model was asked, and what of the body goes no further or is changed. */
export function translationHeaders({ dialect, request }: Translation, isStream: boolean): Readonly<Record<string, string>> {
  return {
    "content-type": isStream ? "text/event-stream; charset=utf-8" : "application/json",
    "x-gateway-translated-to": dialect.name,
    ...(request.droppedFields.length > 0 && { "x-gateway-dropped-fields": namesOf(request.droppedFields) }),
    ...(request.changedFields.length > 0 && { "x-gateway-changed-fields": namesOf(request.changedFields) }),
  };
}

/** A line has to fit into the buffers on its way. */
const LONGEST_HEADER = 4_096;

/** Names of fields are the caller's text: what no header may hold is escaped. */
function namesOf(fields: readonly string[]): string {
  return encodeURI(fields.join(", ").toWellFormed())
    .replaceAll("%20", " ")
    .replaceAll("%5B", "[")
    .replaceAll("%5D", "]")
    .slice(0, LONGEST_HEADER);
}
