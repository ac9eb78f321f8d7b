import { AppError } from "@proliferate/shared/errors";
import { type AnswerEvent, type AnswerUsage, type Citation, type Finish, type OpenPart, wholeInput } from "../answer.ts";
import type { AnswerContext, AnswerWriter } from "../codec.ts";
import { FREEFORM_FIELD, type JsonObject, parseObject, present } from "../json.ts";
import { sealSignature } from "../signatures.ts";
import { dataFrame } from "../sse.ts";
import { writeErrorBody } from "./errors.ts";
import { GEMINI } from "./name.ts";

const FINISH_REASONS: Readonly<Record<Finish["reason"], string>> = {
  end: "STOP",
  length: "MAX_TOKENS",
  context: "MAX_TOKENS",
  stop: "STOP",
  tool_calls: "STOP",
  refusal: "SAFETY",
  pause: "STOP",
};

/** The usage as Google says it: what was read from a cache is part of the prompt, thoughts stand beside the answer. */
function writeUsage(usage: AnswerUsage): JsonObject {
  const { cacheReadTokens, outputTokens, reasoningTokens } = usage;
  const input = wholeInput(usage);
  return {
    promptTokenCount: input,
    ...(cacheReadTokens > 0 && { cachedContentTokenCount: cacheReadTokens }),
    candidatesTokenCount: outputTokens - reasoningTokens,
    ...(reasoningTokens > 0 && { thoughtsTokenCount: reasoningTokens }),
    totalTokenCount: input + outputTokens,
  };
}

/** Characters of what one tool is called with: calls are told whole. */
const MOST_INPUT = 8 * 1024 * 1024;

/** Makes parts of events, each as soon as it can be told. */
class PartMaker {
  #open: OpenPart | undefined;
  #input = "";

  make(event: AnswerEvent): readonly JsonObject[] {
    switch (event.kind) {
      case "open":
        [this.#open, this.#input] = [event.part, ""];
        return [];
      case "delta":
        return this.#delta(event.text);
      case "signature": {
        const isHidden = this.#open?.kind === "thinking" && this.#open.isRedacted === true;
        const thoughtSignature = sealSignature(event.signature, GEMINI);
        return [present({ text: isHidden ? undefined : "", thought: true, thoughtSignature })];
      }
      case "close":
        return this.#open?.kind === "toolCall" ? [{ functionCall: this.#call(this.#open) }] : [];
      default:
        return [];
    }
  }

  #delta(text: string): readonly JsonObject[] {
    if (this.#open?.kind === "thinking") return [{ text, thought: true }];
    if (this.#open?.kind !== "toolCall") return [{ text }];
    this.#input += text;
    if (this.#input.length > MOST_INPUT)
      throw new AppError("provider_answer_too_large", "A call of a tool in the provider's answer is too large.");
    return [];
  }

  /** Arguments that are no object stand in the field of free-form tools, so that no answer is lost over them. */
  #call({ id, name, isFreeform }: OpenPart & { readonly kind: "toolCall" }): JsonObject {
    const isEmpty = this.#input.trim() === "" && !isFreeform;
    const args = isEmpty ? {} : ((isFreeform ? undefined : parseObject(this.#input)) ?? { [FREEFORM_FIELD]: this.#input });
    return { id, name, args };
  }
}

function writeCitation({ url, title }: Citation): JsonObject {
  return present({ uri: url, title });
}

/** Words of one kind that follow each other are one part; a signature ends it. */
function joined(parts: readonly JsonObject[]): readonly JsonObject[] {
  const result: JsonObject[] = [];
  for (const part of parts) {
    const last = result.at(-1);
    const areWords = typeof last?.["text"] === "string" && typeof part["text"] === "string";
    if (areWords && last["thought"] === part["thought"] && last["thoughtSignature"] === undefined)
      result[result.length - 1] = { ...last, ...part, text: `${String(last["text"])}${String(part["text"])}` };
    else result.push(part);
  }
  return result;
}

/** A whole answer. */
export function writeAnswer(events: readonly AnswerEvent[], context: AnswerContext): JsonObject {
  const maker = new PartMaker();
  let { id, model } = context;
  let finish: Finish | undefined;
  const citations: JsonObject[] = [];
  const parts = events.flatMap((event) => {
    if (event.kind === "start") [id, model] = [event.id ?? id, event.model ?? model];
    if (event.kind === "finish") ({ finish } = event);
    if (event.kind === "citation") citations.push(writeCitation(event.citation));
    return maker.make(event);
  });
  return {
    candidates: [
      {
        content: { role: "model", parts: joined(parts) },
        finishReason: FINISH_REASONS[finish?.reason ?? "end"],
        index: 0,
        ...(citations.length > 0 && { citationMetadata: { citations } }),
      },
    ],
    usageMetadata: writeUsage(context.usage()),
    modelVersion: model,
    responseId: id,
  };
}

/** Frames of a stream of Gemini: a chunk for each piece of words and for each call, and the last one with the reason and the usage. */
export class GeminiStreamWriter implements AnswerWriter {
  readonly #context: AnswerContext;
  readonly #maker = new PartMaker();
  #id: string;
  #model: string;
  #finish: Finish | undefined;

  constructor(context: AnswerContext) {
    this.#context = context;
    this.#id = context.id;
    this.#model = context.model;
  }

  write(event: AnswerEvent): string {
    switch (event.kind) {
      case "start":
        [this.#id, this.#model] = [event.id ?? this.#id, event.model ?? this.#model];
        return "";
      case "citation":
        return this.#chunk({ content: content([]), citationMetadata: { citations: [writeCitation(event.citation)] } });
      case "finish":
        this.#finish = event.finish;
        return "";
      case "error":
        return dataFrame(writeErrorBody(event.error).body);
      default:
        return this.#maker
          .make(event)
          .map((part) => this.#chunk({ content: content([part]) }))
          .join("");
    }
  }

  end(): string {
    const finishReason = FINISH_REASONS[this.#finish?.reason ?? "end"];
    // Google's last chunk has words, too; clients take one without content for a broken stream.
    return this.#chunk({ content: content([{ text: "" }]), finishReason }, writeUsage(this.#context.usage()));
  }

  #chunk(candidate: JsonObject, usageMetadata?: JsonObject): string {
    const candidates = [{ ...candidate, index: 0 }];
    return dataFrame(present({ candidates, usageMetadata, modelVersion: this.#model, responseId: this.#id }));
  }
}

function content(parts: readonly JsonObject[]): JsonObject {
  return { role: "model", parts };
}
