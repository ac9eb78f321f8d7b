/**
 * A floor for English text and code; the provider's own count replaces it as soon as it is seen. Used to reserve, and to
 * settle what ended before the provider said anything.
 */
export const BYTES_PER_TOKEN = 4;

/** What an image or a page costs about, whatever the size of its base64 text. */
const MEDIA_TOKENS = 1_600;
const MEDIA_BYTES_PER_TOKEN = 64;
/** Shorter strings under `data` are text. */
const SHORTEST_MEDIA_LENGTH = 1_000;

/** Estimates the input tokens of a parsed request: the bytes of its text by {@link BYTES_PER_TOKEN}, attachments by their own measure. */
export function estimateInputTokens(body: Readonly<Record<string, unknown>>): number {
  let textBytes = 0;
  let mediaTokens = 0;
  const pending: unknown[] = [body];
  const count = (name: string, value: unknown): void => {
    if (typeof value === "object" && value !== null) return void pending.push(value);
    if (typeof value !== "string") return void (textBytes += 4);
    if (isMedia(name, value)) mediaTokens += MEDIA_TOKENS + value.length / MEDIA_BYTES_PER_TOKEN;
    else textBytes += Buffer.byteLength(value);
  };
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (Array.isArray(next)) next.forEach((value) => count("", value));
    else
      for (const [name, value] of Object.entries(next as object)) {
        textBytes += name.length;
        count(name, value);
      }
  }
  // The column is an integer; no provider has a context that large.
  return Math.min(Math.ceil(textBytes / BYTES_PER_TOKEN + mediaTokens), 2_000_000_000);
}

function isMedia(name: string, value: string): boolean {
  if (value.length < SHORTEST_MEDIA_LENGTH) return false;
  return value.startsWith("data:") || ((name === "data" || name === "file_data") && /^[A-Za-z0-9+/_=-]{1000}/.test(value));
}
