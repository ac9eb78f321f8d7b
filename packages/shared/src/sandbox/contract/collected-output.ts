/** The beginning of a stream that was read to its end. */
interface CollectedOutput {
  readonly text: string;
  readonly truncated: boolean;
}

/**
 * Reads a stream to its end and keeps the first `maxBytes` as UTF-8 text; reading on frees the writer from waiting. A
 * character cut at the limit is dropped. Throws what the stream throws.
 */
export async function collectOutput(stream: AsyncIterable<Uint8Array>, maxBytes: number): Promise<CollectedOutput> {
  const chunks: Uint8Array[] = [];
  let kept = 0;
  let truncated = false;
  for await (const chunk of stream) {
    const part = chunk.subarray(0, maxBytes - kept);
    truncated ||= part.length < chunk.length;
    kept += part.length;
    if (part.length > 0) chunks.push(part);
  }
  const bytes = Buffer.concat(chunks);
  // In stream mode the decoder keeps an unfinished character back instead of replacing it.
  return { text: new TextDecoder().decode(bytes, { stream: truncated }), truncated };
}
