import { deflateSync, gzipSync } from "node:zlib";
import { mutateBytes, mutateJson } from "./json-mutations.ts";
import type { Choices } from "./random.ts";
import type { Sample } from "./samples.ts";

/** A request as bytes, and what it was made by. */
interface RequestCase {
  /** In words, for whoever reads a failure. */
  readonly made: readonly string[];
  readonly pieces: readonly Buffer[];
  readonly endsEarly: boolean;
  readonly leavesAfterBytes: number | undefined;
}

/** By whom a request is, and under which name it is found again at the provider and among the spend rows. */
export interface Mark {
  readonly name: string;
  readonly key: string;
}

const CONTENT_TYPES = [
  "application/json; charset=utf-16",
  "text/plain",
  "multipart/form-data; boundary=x",
  "application/json, text/html",
  "",
  "\u00ff",
];
const PATHS: readonly ((path: string) => string)[] = [
  (path) => path.replace("/v1", ""),
  (path) => path.replace("/v1", "/v1/v1"),
  (path) => `${path}/`,
  (path) => path.toUpperCase(),
  (path) => path.replace("/", "//"),
  (path) => path.replace("e", "%65"),
  (path) => `${path}/%00`,
  (path) => `${path}/../models`,
  (path) => path.slice(0, -1),
];

/** What a good request is made into: at random, one to a few changes of its body, its head or its bytes on the wire. */
export function requestCase(choices: Choices, samples: readonly Sample[], mark: Mark): RequestCase {
  const sample = choices.of(samples);
  const made: string[] = [sample.dialect.name, sample.path];
  const body = bodyOf(choices, sample, made);
  const head = headOf(choices, sample, mark, body.length, made);
  const isCut = choices.percent(3);
  const sent = isCut ? body.subarray(0, choices.below(body.length + 1)) : body;
  if (isCut) made.push(`cut after ${sent.length} of ${body.length} bytes`);
  const whole = Buffer.concat([Buffer.from(head.text, "latin1"), head.isChunked ? chunked(choices, sent, isCut) : sent]);
  const at = choices.percent(30) ? choices.below(whole.length + 1) : whole.length;
  const leavesAfterBytes = choices.percent(2) ? 1 + choices.below(2_000) : undefined;
  if (leavesAfterBytes !== undefined) made.push(`its caller leaves after ${leavesAfterBytes} bytes`);
  return { made, pieces: [whole.subarray(0, at), whole.subarray(at)], endsEarly: isCut || head.isWrong, leavesAfterBytes };
}

function bodyOf(choices: Choices, { body }: Sample, made: string[]): Buffer {
  const changes = choices.percent(15) ? 0 : 1 + choices.below(3);
  made.push(`${changes} changes of its JSON`);
  const json = Buffer.from(mutateJson(choices, body, changes));
  switch (choices.percent(30) ? choices.below(6) : 6) {
    case 0:
      made.push("bytes changed");
      return mutateBytes(choices, json, 1 + choices.below(4));
    case 1:
      made.push("as UTF-16");
      return Buffer.from(json.toString("utf8"), "utf16le");
    case 2:
      made.push("behind a mark of the order of bytes");
      return Buffer.concat([Buffer.from("\uFEFF"), json]);
    case 3:
      made.push("with bytes that are no UTF-8");
      return Buffer.from(json.toString("latin1").replace(/[a-z]{3}/, "\u00c3\u0028\u00ff"), "latin1");
    case 4:
      made.push("compressed");
      return choices.percent(50) ? gzipSync(json) : deflateSync(json);
    case 5:
      made.push("twice");
      return Buffer.concat([json, json]);
    default:
      return json;
  }
}

interface Head {
  readonly text: string;
  readonly isChunked: boolean;
  /** It announces something else than what comes. */
  readonly isWrong: boolean;
}

function headOf(choices: Choices, { path, dialect }: Sample, { name, key }: Mark, length: number, made: string[]): Head {
  const note = (text: string): string => (made.push(text), text);
  const target = `${choices.percent(5) ? note(choices.of(PATHS)(path)) : path}?fuzz=${name}`;
  const method = choices.percent(2) ? note(choices.of(["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "POST POST"])) : "POST";
  const shown = choices.percent(3) ? note(choices.of(["sk-unknown-key-of-nobody", "", "sk-", "x".repeat(9_000)])) : key;
  const lines = [
    `${method} ${target} HTTP/1.1`,
    "Host: gateway",
    dialect.family === "anthropic" ? `x-api-key: ${shown}` : `Authorization: Bearer ${shown}`,
    "anthropic-version: 2023-06-01",
    `x-litellm-end-user-id: ${name}`,
    `Content-Type: ${choices.percent(4) ? note(choices.of(CONTENT_TYPES)) : "application/json"}`,
    "Connection: close",
  ];
  if (choices.percent(3)) lines.push(`Content-Encoding: ${note(choices.of(["gzip", "br", "identity", "gzip, gzip", "nothing"]))}`);
  if (choices.percent(2)) lines.push(`Expect: ${note(choices.of(["100-continue", "200-ok"]))}`);
  if (choices.percent(2)) lines.push(`x-litellm-tags: ${note(choices.of([",,,", "a".repeat(5_000), "red, red, blue"]))}`);
  if (choices.percent(2)) lines.push(`anthropic-beta: ${note(choices.of(["none-such-2026-01-01", "fast-mode-2026-02-01", ","]))}`);
  if (choices.percent(1)) lines.push(note(choices.of(["no colon here", "x: \u0000", ": empty", `y: ${"z".repeat(20_000)}`])));
  const isChunked = choices.percent(10);
  const wrong = choices.percent(3)
    ? choices.of([
        "-1",
        "1e3",
        "0",
        String(length + 1 + choices.below(100)),
        String(Math.max(0, length - 7)),
        `${length}, ${length}`,
        "99999999999999999999",
      ])
    : undefined;
  if (wrong !== undefined) made.push(`content-length ${wrong}`);
  if (!isChunked || wrong !== undefined) lines.push(`Content-Length: ${wrong ?? length}`);
  if (isChunked) lines.push("Transfer-Encoding: chunked");
  return { text: `${lines.join("\r\n")}\r\n\r\n`, isChunked, isWrong: wrong !== undefined };
}

/** In pieces of any size; where it is cut, without its end. */
function chunked(choices: Choices, body: Buffer, isCut: boolean): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const size = 1 + choices.below(Math.max(64, body.length >> 2));
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
    at += size;
  }
  if (!isCut) parts.push(Buffer.from(choices.percent(3) ? "0\r\nx-trailer: y\r\n\r\n" : "0\r\n\r\n"));
  return Buffer.concat(parts);
}
