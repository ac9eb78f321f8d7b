/**
 * What a body says, as far as it decides who may send it, what it can cost and what has to be reserved. Read once
 * (`body/`); nothing behind it looks at the body again. A fact that is not here does not count anywhere.
 *
 * Every list is complete or the request is refused: none is cut silently. Paths are written as `tools[0].model`.
 */
export interface RequestFacts {
  /** The model that is called, as the caller names it. */
  readonly model: string;
  readonly stream: boolean;
  /** The caller's own user, as each dialect has it. */
  readonly endUser: string | undefined;
  /** Most tokens that one choice may have: the larger of two limits. Undefined when the caller sets none. */
  readonly maxOutputTokens: number | undefined;
  /** How many answers are generated and charged: `n` or `best_of`, the larger; at least 1. */
  readonly choices: number;
  /** The input is many prompts, each with a context window of its own. Default: it is one. */
  readonly hasManyPrompts?: true;
  /** Whether the model is asked to reason before it answers; undefined: the request leaves it to the model. */
  readonly reasoning: "on" | "off" | undefined;
  /** As asked, not as served. */
  readonly serviceTier: string | undefined;
  readonly speed: string | undefined;
  readonly geography: string | undefined;
  /** Tokens of the input as they are likely: bytes of text by four, media by their own measure. No bound. */
  readonly estimatedInputTokens: number;
  /**
   * The most input tokens that the bytes can become: one a byte of text, media at their largest. A true upper bound
   * exactly when {@link unmeasuredInputs} is empty and no server tool brings results in.
   */
  readonly maxInputTokens: number;
  /** Input that the bytes do not show; each may fill the context window. */
  readonly unmeasuredInputs: readonly UnmeasuredInput[];
  /** Every model that the body names beside {@link model}. */
  readonly namedModels: readonly NamedModel[];
  /** Tools that the provider runs: each use is charged, its results are input, and the model may go on after it. */
  readonly serverTools: readonly ServerTool[];
  /** What makes the model run once more over the conversation within one request (compaction). */
  readonly extraPasses: readonly ExtraPass[];
  /** What can cost and cannot be judged from the body. */
  readonly unjudged: readonly Unjudged[];
  /** Text that is predicted for the output; what is rejected of it is charged as output. Tokens at most. */
  readonly predictedOutputTokens: number;
  /** Audio is priced apart from text. */
  readonly audio: { readonly input: boolean; readonly output: boolean };
  /** How many of what a meter of a limit asks for the body has, by its name; what is not in it is not there. */
  readonly counts: Readonly<Record<string, number>>;
  /** Fields of the body that no dialect of ours documents; they are passed on. Shown to operators, at most 16. */
  readonly unknownFields: readonly string[];
}

export interface UnmeasuredInput {
  readonly path: string;
  /** `document`: a file whose pages are not in proportion to its bytes. `stored`: kept by the provider (a container, an earlier answer, cached content). */
  readonly kind: "file" | "url" | "document" | "mcp" | "stored";
}

export interface NamedModel {
  readonly path: string;
  readonly model: string;
  /** The caller's own limit of the output of one call of this model; undefined when none is set. */
  readonly maxOutputTokens: number | undefined;
  /** As asked for this model alone; undefined where the request's own holds. */
  readonly speed: string | undefined;
  /** `advisor`: called beside the main model. `fallback`: serves in its place. `moderation`: checks input and output. */
  readonly role: "advisor" | "fallback" | "moderation";
}

export interface ServerTool {
  /** Of the tool; an advisor stands in {@link RequestFacts.namedModels}, too, under this path and `.model`. */
  readonly path: string;
  /** The provider's name with its version: `web_search_20250305`, `web_search_options`. */
  readonly type: string;
  /** The caller's limit of uses; undefined when none is set. */
  readonly maxUses: number | undefined;
}

export interface ExtraPass {
  readonly path: string;
  /** `compact_20260112` */
  readonly type: string;
}

export interface Unjudged {
  readonly path: string;
  readonly why: "provider_chooses_model" | "unknown_server_tool" | "unknown_field_names_model" | "unknown_value";
}
