import type { JsonObject } from "./json.ts";

/**
 * A conversation as no dialect has it and each can be read into and written from: one model between n readers and m writers. What a
 * reader does not fill is undefined, never a default of a dialect.
 */
export interface Conversation {
  /** The model as the caller names it. */
  readonly model: string;
  readonly system: readonly TextPart[];
  readonly turns: readonly Turn[];
  readonly settings: Settings;
}

/** What one side says, in order. `system`: an instruction in the middle of a conversation. */
export interface Turn {
  readonly role: "user" | "assistant" | "system";
  readonly parts: readonly Part[];
}

/** A piece of a turn. */
export type Part = TextPart | RefusalPart | ImagePart | DocumentPart | AudioPart | ThinkingPart | ToolCallPart | ToolResultPart;

/** What the provider is asked to keep for the next request: everything up to and with the part. */
export interface CacheMark {
  readonly lifetime: "5m" | "1h" | undefined;
}

/** Words. */
export interface TextPart {
  readonly kind: "text";
  readonly text: string;
  readonly cache?: CacheMark | undefined;
}

/** The model's words by which it declines. */
interface RefusalPart {
  readonly kind: "refusal";
  readonly text: string;
}

/** Where the bytes of an image, a document or a sound are. */
export type Source =
  | { readonly kind: "base64"; readonly mediaType: string; readonly data: string }
  | { readonly kind: "url"; readonly url: string; readonly mediaType?: string | undefined };

/** A picture. `detail`: how closely it is to be looked at, in OpenAI's words. */
export interface ImagePart {
  readonly kind: "image";
  readonly source: Source;
  readonly detail?: string | undefined;
  readonly cache?: CacheMark | undefined;
}

/** A file of pages, or one of text. */
export interface DocumentPart {
  readonly kind: "document";
  readonly source: Source | { readonly kind: "text"; readonly text: string };
  readonly title?: string | undefined;
  /** What the model is told of it and does not cite. */
  readonly context?: string | undefined;
  /** The model is asked to say which places of it its words are taken from. */
  readonly isCited?: boolean | undefined;
  readonly cache?: CacheMark | undefined;
}

/** Sound; no dialect of today writes it. */
export interface AudioPart {
  readonly kind: "audio";
  readonly source: Source;
}

/** What a dialect gave with a thought and reads back: no other dialect can make anything of it. */
export interface Signature {
  /** The dialect that made it. */
  readonly origin: string;
  readonly value: string;
  /** The name under which its dialect keeps the thought, where it has one. */
  readonly id?: string | undefined;
}

/** What the model thought before it answered. */
export interface ThinkingPart {
  readonly kind: "thinking";
  readonly text: string;
  readonly signature?: Signature | undefined;
  /** The words are hidden in the signature. */
  readonly isRedacted?: boolean | undefined;
}

/** The model calls a tool of the caller. */
export interface ToolCallPart {
  readonly kind: "toolCall";
  /** Undefined where a dialect gives none; results then follow the order of the calls. */
  readonly id: string | undefined;
  readonly name: string;
  /** JSON of an object; of a free-form tool any text. */
  readonly input: string;
  readonly isFreeform?: boolean | undefined;
  /** Of a dialect that signs calls. */
  readonly signature?: Signature | undefined;
  readonly cache?: CacheMark | undefined;
}

/** What the caller's tool answered. */
export interface ToolResultPart {
  readonly kind: "toolResult";
  readonly callId: string | undefined;
  /** Of the tool, where the dialect says it. */
  readonly name?: string | undefined;
  readonly content: readonly ResultPart[];
  readonly isError?: boolean | undefined;
  /** It answers a call of a free-form tool. */
  readonly isFreeform?: boolean | undefined;
  readonly cache?: CacheMark | undefined;
}

/** What a tool may answer with. */
export type ResultPart = TextPart | ImagePart | DocumentPart;

/**
 * A tool of the caller. `freeform`: it takes any text instead of JSON. A tool of a namespace is named `namespace/tool`, which no API takes as a name: writers make
 * one that theirs takes, and the answer's way back undoes it.
 */
export interface Tool {
  readonly kind: "function" | "freeform";
  readonly name: string;
  /** Of the text of a free-form tool; undefined: any text. */
  readonly grammar?: { readonly syntax: string; readonly definition: string } | undefined;
  readonly description?: string | undefined;
  readonly schema?: JsonObject | undefined;
  readonly isStrict?: boolean | undefined;
  readonly cache?: CacheMark | undefined;
}

/** Whether tools may, must or must not be called. */
export type ToolChoice = { readonly kind: "auto" | "none" | "required" } | { readonly kind: "tool"; readonly name: string };

/** How long the model is to think; from little to much. */
export const EFFORTS = ["minimal", "low", "medium", "high", "xhigh", "max"] as const;
/** One of {@link EFFORTS}. */
export type Effort = (typeof EFFORTS)[number];

/** Whether and how much the model is to think before it answers. */
export type Reasoning =
  | { readonly kind: "off" }
  | { readonly kind: "on"; readonly effort?: Effort | undefined; readonly budgetTokens?: number | undefined };

/** The form in which the answer is to come. */
export type OutputFormat =
  | { readonly kind: "json" }
  | {
      readonly kind: "schema";
      readonly name?: string | undefined;
      readonly description?: string | undefined;
      readonly schema: JsonObject;
      readonly isStrict?: boolean | undefined;
    };

/** Everything of a request that is no turn. */
export interface Settings {
  readonly isStream: boolean;
  /** The caller reads the usage at the end of a stream. */
  readonly wantsStreamUsage: boolean;
  readonly maxOutputTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  readonly seed?: number | undefined;
  readonly frequencyPenalty?: number | undefined;
  readonly presencePenalty?: number | undefined;
  readonly tools: readonly Tool[];
  readonly toolChoice?: ToolChoice | undefined;
  readonly parallelToolCalls?: boolean | undefined;
  readonly reasoning?: Reasoning | undefined;
  readonly output?: OutputFormat | undefined;
  readonly verbosity?: string | undefined;
  /** The caller's own user. */
  readonly user?: string | undefined;
  readonly cacheKey?: string | undefined;
  /** `standard`: not faster or dearer than the price; `auto`: as the provider decides. */
  readonly serviceTier?: "auto" | "standard" | undefined;
}
