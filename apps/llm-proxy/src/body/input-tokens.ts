/**
 * How many tokens bytes become. Two measures: what is likely, by which what ended early is settled, and the most that is
 * possible, by which is reserved.
 */

/** A floor for English text and code; the provider's own count replaces it as soon as it is seen. */
const BYTES_PER_TOKEN = 4;

/** What an image or a page costs about, whatever the size of its base64 text. */
const MEDIA_TOKENS = 1_600;
const MEDIA_BYTES_PER_TOKEN = 64;

/**
 * The most that one image becomes. Anthropic scales to 2,576 pixels on the long edge, below 5,000 tokens; OpenAI takes up
 * to 10,000 patches at `detail: original`, times 2.46 for its smallest models; Google says no bound, and has the same.
 */
export const MOST_IMAGE_TOKENS = { anthropic: 5_000, openai: 25_000, gemini: 25_000 } as const;

/** What a provider says to the model about tools (up to 804 tokens are documented), and about each tool that it defines itself. */
export const TOOL_PROMPT_TOKENS = 1_000;
export const PROVIDER_TOOL_TOKENS = 2_000;

/** An attachment, as it is likely and at most. */
export interface Media {
  readonly tokens: number;
  readonly mostTokens: number;
}

export function imageTokens(bytes: number, mostTokens: number): Media {
  return { tokens: MEDIA_TOKENS + bytes / MEDIA_BYTES_PER_TOKEN, mostTokens };
}

/** No sound is encoded in less than a byte a token (a tenth of a second). */
export function soundTokens(bytes: number): Media {
  return { tokens: MEDIA_TOKENS + bytes / MEDIA_BYTES_PER_TOKEN, mostTokens: bytes };
}

/** A document whose pages nobody has counted; it is an unmeasured input as well, so what it adds to the bound is not all. */
export function documentTokens(bytes: number): Media {
  return { tokens: MEDIA_TOKENS + bytes / MEDIA_BYTES_PER_TOKEN, mostTokens: bytes };
}

/** Text by its bytes, with the attachments. The column is an integer; no provider has a context that large. */
export function textTokens(textBytes: number, mediaTokens: number): number {
  return Math.min(Math.ceil(Math.max(textBytes, 0) / BYTES_PER_TOKEN + mediaTokens), 2_000_000_000);
}
