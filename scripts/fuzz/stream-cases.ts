import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { mutateBytes, mutateJson } from "./json-mutations.ts";
import type { Choices } from "./random.ts";
import type { Sample } from "./samples.ts";

/** A provider's good answer to a sample, byte for byte. */
export interface RecordedAnswer {
  readonly sample: Sample;
  readonly isStream: boolean;
  readonly bytes: Buffer;
}

/** What a provider answers instead. */
interface StreamCase {
  readonly made: readonly string[];
  readonly sample: Sample;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly pieces: readonly Buffer[];
  readonly end: "clean" | "cut";
  readonly leavesAfterBytes: number | undefined;
}

const STATUSES = [400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529, 599, 201, 204, 301] as const;
const USAGE_NAMES = /"(\w*tokens\w*|usage|input|output|total)":/g;
const USAGE_VALUES = [
  "null",
  "-5",
  "1.5",
  "1e400",
  "-1e400",
  "1e21",
  '"7"',
  "{}",
  "[]",
  "true",
  "9007199254740993",
  "0",
  "0.30000000000000004",
  "NaN",
  "00",
];

/** What a good answer is made into: at random, one to a few changes of its frames, its numbers, its bytes, or how they come. */
export function streamCase(choices: Choices, recorded: readonly RecordedAnswer[]): StreamCase {
  const { sample, isStream, bytes } = choices.of(recorded);
  const made: string[] = [sample.dialect.name, sample.path, isStream ? "a stream" : "a whole answer"];
  let text = bytes.toString("utf8");
  for (let changes = choices.below(4); changes > 0; changes -= 1)
    text = isStream ? frameChange(choices, text, made) : bodyChange(choices, text, made);
  let changed: Buffer = Buffer.from(text);
  if (choices.percent(15)) {
    made.push("bytes changed");
    changed = mutateBytes(choices, changed, 1 + choices.below(3));
  }
  const isCut = choices.percent(25);
  if (isCut) {
    changed = changed.subarray(0, choices.below(changed.length + 1));
    made.push(`cut after ${changed.length} bytes`);
  }
  const status = choices.percent(6) ? choices.of(STATUSES) : 200;
  if (status !== 200) made.push(`status ${status}`);
  const { bytes: sent, headers } = onTheWire(choices, changed, isStream, made);
  const leavesAfterBytes = choices.percent(4) ? 1 + choices.below(3_000) : undefined;
  if (leavesAfterBytes !== undefined) made.push(`its caller leaves after ${leavesAfterBytes} bytes`);
  return {
    made,
    sample,
    status,
    headers,
    pieces: piecesOf(choices, sent),
    end: isCut && choices.percent(50) ? "cut" : "clean",
    leavesAfterBytes,
  };
}

/** Frames of a stream with one change. */
function frameChange(choices: Choices, text: string, made: string[]): string {
  const frames = text.split(/(?<=\n\n)/);
  const at = choices.below(frames.length);
  const frame = frames[at] ?? "";
  const changed = (name: string, put: () => string): string => (made.push(name), put());
  const withFrames = (...list: string[]): string => frames.toSpliced(at, 1, ...list).join("");
  switch (choices.below(13)) {
    case 0:
      return changed(`frame ${at} twice`, () => withFrames(frame, frame));
    case 1:
      return changed(`without frame ${at}`, () => withFrames());
    case 2: {
      const other = choices.below(frames.length);
      return changed(`frames ${at} and ${other} exchanged`, () =>
        frames
          .with(at, frames[other] ?? "")
          .with(other, frame)
          .join(""),
      );
    }
    case 3:
      return changed("all twice", () => text + text);
    case 4:
      return usageChange(choices, text, made);
    case 5:
      return changed("ended by CR LF", () => text.replaceAll("\n", "\r\n"));
    case 6:
      return changed("ended by CR", () => text.replaceAll("\n", "\r"));
    case 7:
      return changed("comments between", () => frames.map((one) => `: a comment ${"c".repeat(choices.below(40))}\n\n${one}`).join(""));
    case 8:
      return changed(`a comment within frame ${at}`, () => withFrames(frame.replace("\n", "\n: keep-alive\n")));
    case 9: {
      const size = choices.percent(3) ? 3_000_000 : 1 + choices.below(100_000);
      return changed(`a frame of ${size} bytes`, () =>
        withFrames(`data: ${choices.percent(50) ? "x".repeat(size) : JSON.stringify({ type: "x", x: "y".repeat(size) })}\n\n`, frame),
      );
    }
    case 10:
      return changed(`frame ${at} in several data lines`, () =>
        withFrames(
          frame.replace(
            /^data: (.*)$/m,
            (_, data: string) => `data: ${data.slice(0, data.length >> 1)}\ndata:${data.slice(data.length >> 1)}`,
          ),
        ),
      );
    case 11:
      return changed(
        "another ending",
        () =>
          text +
          choices.of([
            "data: [DONE]\n\n",
            "data: [DONE]",
            "event: error\ndata: {}\n\n",
            "data:\n\n",
            "retry: 1\n\n",
            "id: 1\nevent: x\n\n",
            "garbage",
            "\n\n\n\n",
            '{"error":{"message":"no"}}',
          ]),
      );
    default:
      return changed(`the JSON of frame ${at}`, () =>
        withFrames(frame.replace(/^data: (\{.*\})$/m, (_, data: string) => `data: ${otherJson(choices, data).replaceAll("\n", " ")}`)),
      );
  }
}

/** With one to two changes of its structure; what a change before made into no JSON, or into JSON too deep to walk through, stays as it is. */
function otherJson(choices: Choices, text: string): string {
  try {
    return mutateJson(choices, JSON.parse(text), 1 + choices.below(2));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return text;
    throw error;
  }
}

/** A whole answer with one change. */
function bodyChange(choices: Choices, text: string, made: string[]): string {
  if (choices.percent(40)) return usageChange(choices, text, made);
  if (choices.percent(10)) {
    made.push("as a stream");
    return `data: ${text}\n\n`;
  }
  made.push("its JSON");
  return otherJson(choices, text);
}

/** One of the numbers by which it is billed, or all of them. */
function usageChange(choices: Choices, text: string, made: string[]): string {
  const places = [...text.matchAll(USAGE_NAMES)];
  if (places.length === 0) return text;
  const { index = 0, 0: name } = choices.of(places);
  const value = choices.of(USAGE_VALUES);
  made.push(`${name}${value}`);
  const isAll = choices.percent(20);
  const spelled = (part: string): string =>
    part.replace(/^("\w+":)(-?[\d.eE+]+|null|"[^"]*"|\{[^{}]*\}|)/, (_, field: string) => `${field}${value}`);
  if (isAll) return text.replaceAll(/"\w*tokens\w*":-?[\d.eE+]+/g, spelled);
  return text.slice(0, index) + spelled(text.slice(index));
}

const COMPRESSIONS: readonly (readonly [string, (bytes: Buffer) => Buffer])[] = [
  ["gzip", gzipSync],
  ["br", brotliCompressSync],
  ["deflate", deflateSync],
  ["gzip", (bytes) => gzipSync(bytes).subarray(0, -6)],
  ["gzip", (bytes) => bytes],
  ["gzip", (bytes) => Buffer.concat([gzipSync(bytes), Buffer.from("behind")])],
  ["br", (bytes) => gzipSync(bytes)],
  ["zstd", (bytes) => bytes],
  ["identity", (bytes) => bytes],
  ["gzip, gzip", (bytes) => gzipSync(gzipSync(bytes))],
];

function onTheWire(
  choices: Choices,
  bytes: Buffer,
  isStream: boolean,
  made: string[],
): { readonly bytes: Buffer; readonly headers: Record<string, string> } {
  const good = isStream ? "text/event-stream; charset=utf-8" : "application/json";
  const type = choices.percent(6)
    ? choices.of(["application/json", "text/event-stream", "text/html", "application/octet-stream", "TEXT/EVENT-STREAM"])
    : good;
  if (type !== good) made.push(`content-type ${type}`);
  if (!choices.percent(15)) return { bytes, headers: { "content-type": type } };
  const [encoding, compress] = choices.of(COMPRESSIONS);
  made.push(`content-encoding ${encoding}`);
  return { bytes: compress(bytes), headers: { "content-type": type, "content-encoding": encoding } };
}

/** One to many writes, wherever they cut a frame, a line or a letter. */
function piecesOf(choices: Choices, bytes: Buffer): readonly Buffer[] {
  const count = choices.percent(50) ? 1 : 1 + choices.below(20);
  const cuts = Array.from({ length: count - 1 }, () => choices.below(bytes.length + 1)).toSorted((a, b) => a - b);
  return [...cuts, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : cuts[index - 1], end));
}
