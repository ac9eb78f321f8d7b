/**
 * A frame as text in which each character is one byte: cheap to make and to search (several times faster than a Buffer),
 * right for keys and lengths, wrong for the meaning of non-ASCII text.
 */
export type FrameText = string;

/** The bytes of a frame as text, one character a byte: it is searched for ASCII names only, and never decoded. */
export function frameText(frame: Buffer): FrameText {
  return frame.toString("latin1");
}

/** The JSON of a frame's data lines; undefined if there is none or it is broken. */
export function parseFrameData(frame: Buffer): Readonly<Record<string, unknown>> | undefined {
  const lines = frame.toString("utf8").split(/\r?\n/);
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice("data:".length));
  return parseJsonObject(data.join("\n"));
}

/** An object or undefined; arrays, other values and broken JSON are undefined. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The value if it is an object; undefined for an array, null and everything else. */
export function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

/** The value if it is text that is not empty; undefined for everything else. */
export function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Characters under a name in a list of objects; what is no text counts nothing. */
export function textLength(objects: readonly unknown[], name: string): number {
  return objects.reduce<number>((sum, object) => sum + (textOf(objectOf(object)?.[name])?.length ?? 0), 0);
}

const QUOTE = 34;
const BACKSLASH = 92;
const LETTER_U = 117;

/**
 * Length of the JSON strings that follow these markers (each ends with the opening quote), the first of each, without parsing
 * the frame. An escape counts as one byte, so the result is never more than the decoded text has. 0 if no marker is there.
 */
export function measureJsonStrings(frame: FrameText, markers: readonly string[]): number {
  let length = 0;
  for (const marker of markers) {
    const at = frame.indexOf(marker);
    if (at >= 0) length += measureFrom(frame, at + marker.length);
  }
  return length;
}

function measureFrom(frame: FrameText, start: number): number {
  const found = frame.indexOf('"', start);
  // A string that does not end in its frame goes on to the frame's end.
  const quote = found < 0 ? frame.length : found;
  const backslash = frame.indexOf("\\", start);
  // To search is many times faster than to look at each character.
  if (backslash < 0 || backslash > quote) return quote - start;
  let length = 0;
  for (let index = start; index < frame.length; index += 1) {
    const character = frame.charCodeAt(index);
    if (character === QUOTE) break;
    if (character === BACKSLASH) index += frame.charCodeAt(index + 1) === LETTER_U ? 5 : 1;
    length += 1;
  }
  return length;
}

/**
 * The floor under what an aborted answer cost, when the provider did not come to say it: four bytes of visible output
 * are one token (1 at least, once there was any). Hidden reasoning is not in it.
 */
export function estimateOutputTokens(outputBytes: number): number {
  return outputBytes === 0 ? 0 : Math.max(1, Math.floor(outputBytes / 4));
}
