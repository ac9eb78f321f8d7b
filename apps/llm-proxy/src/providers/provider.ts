import type { Dialect } from "../dialects/dialect.ts";

/**
 * Who serves: one upstream with its own address, credential and headers. What its callers speak is a {@link Dialect}; where a
 * caller speaks one of the provider's, bytes pass untouched. The road knows no provider by name (`scripts/architecture.test.ts`).
 */
export interface Provider {
  /** The prefix of its models (`anthropic/claude-…`), the `custom_llm_provider` of spend rows, and its name in the price table. */
  readonly name: string;
  /** Where it is when nobody says, without `/v1` and without a trailing slash. */
  readonly apiBase: string;
  /** The variable that its address is taken from by default. */
  readonly apiBaseVariable: string;
  /** The variable that its key is taken from by default, as LiteLLM does. */
  readonly apiKeyVariable: string;
  /** What it speaks; what a caller of another dialect is translated for stands first. */
  readonly dialects: readonly [Dialect, ...Dialect[]];
  /** The same for servers at other addresses that are compatible with it: what each of them surely speaks stands first. Default: {@link dialects}. */
  readonly compatibleDialects?: readonly [Dialect, ...Dialect[]];
  /** How our key is shown to it. */
  credentialHeaders(apiKey: string): Readonly<Record<string, string>>;
  /** Headers that it needs and a caller may leave out. */
  readonly defaultHeaders: Readonly<Record<string, string>>;
  /** Headers by which a caller would name an account that is not ours, or another answer than the one that is metered; they never go to any provider. */
  readonly accountHeaders: readonly string[];
  /**
   * Headers of its answers that a caller may read beside those that every provider may send: names, beginnings of names, and beginnings of
   * what is left of our account's limits, which only callers read that have no limits of their own.
   */
  readonly answerHeaders: {
    readonly names: readonly string[];
    readonly beginnings: readonly string[];
    readonly limitBeginnings: readonly string[];
  };
  /** Its streams say what they cost without being asked, and it may refuse to be asked. Default false. */
  readonly countsUnasked?: true;
}

/** The usual way to show a key. */
export function bearer(apiKey: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${apiKey}` };
}
