import type { UsagePart, UsageReport } from "./usage-report.ts";

/** What is known of an answer's cost at this moment. */
export interface UsageReading {
  /**
   * Reported counts where the provider gave them. Until it does: input classes 0, output the floor that
   * `estimateOutputTokens` makes of the text seen so far.
   */
  readonly report: UsageReport;
  /** The input classes are the provider's own. */
  readonly isInputReported: boolean;
  /** Input and output are the provider's own, for the whole answer: counts that a provider gives on the way are not. */
  readonly isFinal: boolean;
  /** Something that the model made has come: an answer that fails before it costs nothing. */
  readonly hasOutput: boolean;
  /** The output has the provider's own estimates of thinking that it does not show. Default false. */
  readonly countsThinking?: boolean;
  /**
   * Passes over the input that were seen to begin, after results of the provider's own tools, and that no count holds yet: the
   * input of each, estimated. Part of what an unfinished answer costs, no part of `report`. Default none.
   */
  readonly laterPasses?: readonly UsagePart[];
  /** Every answer of it has come to its end, whether or not the event that ends the stream came, too. */
  readonly isWhole: boolean;
  /** The provider's id of the answer (`msg_…`, `chatcmpl-…`). */
  readonly responseId: string | undefined;
  /** The model as the provider names it. */
  readonly model: string | undefined;
}

/** An error that the provider sent inside a stream. */
export interface ProviderStreamError {
  readonly type: string | undefined;
  readonly message: string | undefined;
}

/**
 * Reads usage off a streamed answer while it passes. The forwarder sends on what `push` returns; once `terminal` is set it
 * settles, then sends `takeRest()`: so no client sees the end of an answer that is not on record.
 */
export interface StreamUsageReader {
  /** Takes bytes cut anywhere; returns what may be sent on now, in order. The chunk stays the caller's. */
  push(chunk: Uint8Array): readonly Uint8Array[];
  /** `end`: the event that ends the answer has come. `error`: the provider's error event. Both are held, with all that follows. */
  readonly terminal: "end" | "error" | undefined;
  /** The held end, or a frame that never ended. Once, when settled or when the upstream ended; `push` then only passes. */
  takeRest(): Uint8Array;
  /** Bytes that {@link takeRest} would return. */
  readonly heldBytes: number;
  /** What was given out so far ends with the end of a frame and is not the end of the answer: a frame of somebody else's may follow it. */
  readonly isBetweenFrames: boolean;
  /** At any time, also after an abort. */
  reading(): UsageReading;
  readonly error: ProviderStreamError | undefined;
}
