import type { ToolUseBlock } from "./answer.ts";
import type { JournalEntry } from "./journal.ts";
import type { ServedUsage } from "./served-usage.ts";

/** Every way in which a real provider was seen to fail. Frame counts are SSE frames sent before it happens. */
export type Fault =
  /** An error answer in the dialect's own envelope. 529 is Anthropic's "overloaded". */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly message?: string;
      readonly type?: string;
      readonly retryAfterSeconds?: number;
    }
  /** The request is read, then nothing is ever answered. */
  | { readonly kind: "hang_before_headers" }
  /** The connection is reset before an answer. */
  | { readonly kind: "cut_before_headers" }
  | { readonly kind: "hang_mid_stream"; readonly afterFrames: number }
  /** The connection is reset in the middle of a frame; for an answer that is no stream, in the middle of its JSON. */
  | { readonly kind: "cut_mid_stream"; readonly afterFrames: number }
  /** The stream ends cleanly, without its end event. */
  | { readonly kind: "end_early"; readonly afterFrames: number }
  /** An error event in the stream, after which the provider closes it. */
  | { readonly kind: "error_event"; readonly afterFrames: number; readonly type?: string; readonly message?: string }
  /** 200 and a body that is no JSON; in a stream, one data line that is none. */
  | { readonly kind: "invalid_json" }
  /** A good answer that does not say what it cost. */
  | { readonly kind: "missing_usage" }
  /** 200 and a JSON body although a stream was asked for. */
  | { readonly kind: "not_a_stream" }
  /** A whole answer whose text has this many bytes, made while it is sent; with `gzip` little of it is on the wire. */
  | { readonly kind: "huge"; readonly bytes: number }
  /** Exactly these bytes, one write each; then a clean end (default), a reset, or silence. */
  | {
      readonly kind: "raw";
      /** Default 200. */
      readonly status?: number;
      /** Added to those of the dialect; default `content-type: application/json`. */
      readonly headers?: Readonly<Record<string, string>>;
      readonly pieces: readonly (string | Uint8Array)[];
      readonly end?: "clean" | "cut" | "hang";
    };

/** How one request is answered; what is left out is derived from the request. */
export interface Script {
  readonly fault?: Fault;
  readonly text?: string;
  /** A thinking block before the text (Anthropic only). */
  readonly thinking?: string;
  readonly toolUse?: Omit<ToolUseBlock, "type">;
  /** A text answer of this many bytes. */
  readonly answerBytes?: number;
  readonly usage?: Partial<ServedUsage>;
  /** The provider's id of the answer; for tests of ids that come twice. */
  readonly responseId?: string;
  /** Pause between two SSE frames. */
  readonly frameGapMs?: number;
  /** A stream stops before its frame of this index (0: behind its head) until the promise resolves, or for ever. */
  readonly hold?: { readonly beforeFrame: number; readonly until: Promise<unknown> };
  /** Pause before the answer begins. */
  readonly headersDelayMs?: number;
  /** Default: gzip exactly if `accept-encoding` names it, as real providers do. */
  readonly gzip?: boolean;
}

export type RequestMatcher = (request: JournalEntry) => boolean;

interface Rule {
  readonly matches: RequestMatcher;
  readonly script: Script;
}

/** Decides which script a request gets: the queue first (one entry for each request for an answer), then the newest rule that matches. */
export class ScriptBook {
  readonly #queue: Script[] = [];
  readonly #rules: Rule[] = [];

  enqueue(...scripts: readonly Script[]): void {
    this.#queue.push(...scripts);
  }

  /** Returns a function that takes the rule away again. */
  addRule(matches: RequestMatcher, script: Script): () => void {
    const rule = { matches, script };
    this.#rules.unshift(rule);
    return () => {
      const index = this.#rules.indexOf(rule);
      if (index >= 0) this.#rules.splice(index, 1);
    };
  }

  clear(): void {
    this.#queue.length = 0;
    this.#rules.length = 0;
  }

  take(request: JournalEntry): Script {
    const isAnswer = ["messages", "chat_completions", "responses", "embeddings", "generate_content"].includes(request.route);
    return (isAnswer ? this.#queue.shift() : undefined) ?? this.#rules.find((rule) => rule.matches(request))?.script ?? {};
  }
}
