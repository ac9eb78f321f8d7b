import { AnswerTranslation, type Codec, CODECS, translateError, translateRequest } from "@proliferate/conversation";
import { isAppError } from "@proliferate/shared/errors";
import { expect, test } from "vitest";
import { DIALECTS } from "../../apps/llm-proxy/src/providers/spoken-dialects.ts";
import { mutateBytes, mutateJson } from "./json-mutations.ts";
import { Choices } from "./random.ts";
import { samplesOf } from "./samples.ts";
import { type RecordedAnswer, streamCase } from "./stream-cases.ts";

/**
 * What no API has, through every codec: a request is written or refused in words, an answer passes or ends in words, and nothing else is ever thrown; what is
 * written is JSON. By a seed and a number each, as the other fuzzing; without a process, so thousands are a matter of seconds.
 */
const SEED = 12;
const CASES = 3_000;
const PAIRS: readonly (readonly [Codec, Codec])[] = CODECS.flatMap((from) =>
  CODECS.flatMap((to) => (from === to ? [] : [[from, to] as const])),
);
const TARGETS = ["claude-haiku-4-5", "claude-opus-5-5", "gpt-5.2", "gpt-4o", "gemini-3-pro-preview", "gemini-2.5-flash", "llama"].map(
  (model) => ({ model, maxOutputTokens: 4_096 }),
);
/** Of a dialect whose body does not say it. */
const IN_PATH = { model: "some-model", isStream: true };
const USAGE = { inputTokens: 7, cacheReadTokens: 0, cacheWrite5mTokens: 0, cacheWrite1hTokens: 0, outputTokens: 5, reasoningTokens: 0 };
const REQUEST = { renamedTools: new Map<string, string>(), freeformTools: new Set(["weather"]), wantsStreamUsage: true };

const codecNamed = (name: string): Codec | undefined => CODECS.find((codec) => codec.name === name);
const samples = samplesOf(DIALECTS).filter(({ dialect, isCounted }) => isCounted && codecNamed(dialect.name));

/** What is thrown that is no refusal in words; undefined where all is well. */
function faultOf(run: () => void): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return isAppError(error) ? undefined : error;
  }
}

test("a request of any shape is translated into JSON, or refused in words", () => {
  const seen = { written: 0, refused: 0 };
  const faults = Array.from({ length: CASES }, (_, number) => {
    const choices = new Choices(SEED, number);
    const { dialect, body } = choices.of(samples);
    const from = codecNamed(dialect.name) as Codec;
    const text = mutateJson(choices, body, 1 + choices.below(4));
    const to = choices.of(CODECS.filter((codec) => codec !== from));
    const target = choices.of(TARGETS);
    seen.refused += 1;
    const fault = faultOf(() => {
      // What the scanner of bodies would not let pass is nobody's here.
      if (!isBody(text)) return;
      const written = translateRequest(text, from, to, target, IN_PATH).body;
      expect(JSON.parse(written)).toBeTypeOf("object");
      seen.written += 1;
      seen.refused -= 1;
    });
    return fault === undefined ? [] : [`${number}: ${from.name} > ${to.name}: ${String(fault)}: ${text.slice(0, 300)}`];
  }).flat();

  expect(faults).toEqual([]);
  expect(seen.written).toBeGreaterThan(CASES / 10);
  expect(seen.refused).toBeGreaterThan(CASES / 10);
});

function isBody(text: string): boolean {
  try {
    const body = JSON.parse(text) as unknown;
    return typeof body === "object" && body !== null && !Array.isArray(body);
  } catch {
    return false;
  }
}

const EVENTS = [
  { kind: "start", id: "answer_1", model: "some-model" },
  { kind: "open", part: { kind: "thinking" } },
  { kind: "delta", text: "hm" },
  { kind: "signature", signature: { origin: "openai-responses", value: "c2lnbmVk", id: "rs_1" } },
  { kind: "close" },
  { kind: "open", part: { kind: "text" } },
  { kind: "delta", text: "Grüße 👋" },
  { kind: "delta", text: '\n\t"quoted"' },
  { kind: "close" },
  { kind: "open", part: { kind: "toolCall", id: "call_1", name: "weather" } },
  { kind: "delta", text: '{"city":' },
  { kind: "delta", text: '"Ulm"}' },
  { kind: "close" },
  { kind: "finish", finish: { reason: "tool_calls" } },
] as const;
const CONTEXT = { id: "answer_1", model: "some-model", createdAtSeconds: 1, usage: () => USAGE, wantsStreamUsage: true };

/** A good answer of each codec, whole and streamed. */
const RECORDED: readonly RecordedAnswer[] = samples.flatMap((sample) => {
  const codec = codecNamed(sample.dialect.name) as Codec;
  const writer = codec.streamWriter(CONTEXT);
  return [
    { sample, isStream: false, bytes: Buffer.from(JSON.stringify(codec.writeAnswer(EVENTS, CONTEXT))) },
    { sample, isStream: true, bytes: Buffer.from(EVENTS.map((event) => writer.write(event)).join("") + writer.end()) },
  ];
});

test("an answer of any bytes passes, or ends in words, whole, as an error and as a stream that is cut anywhere", () => {
  let told = 0;
  const faults = Array.from({ length: CASES }, (_, number) => {
    const choices = new Choices(SEED, number);
    const { sample, pieces, status } = streamCase(choices, RECORDED);
    const from = codecNamed(sample.dialect.name) as Codec;
    const to = choices.of(CODECS.filter((codec) => codec !== from));
    const translation = (): AnswerTranslation => new AnswerTranslation({ ...CONTEXT, from, to, request: REQUEST });
    const bytes = Buffer.concat(pieces);
    const found = [
      faultOf(() => {
        const streaming = translation();
        for (const piece of pieces) told += streaming.push([piece]).length;
        told += streaming.end().length;
      }),
      faultOf(() => JSON.parse(translation().whole(bytes.toString("utf8")).toString())),
      faultOf(() => JSON.parse(translateError(bytes.toString("utf8"), status, from, to, "request_1").body)),
      faultOf(() => translation().push([mutateBytes(choices, bytes, 20)])),
    ].filter((fault) => fault !== undefined);
    return found.map((fault) => `${number}: ${from.name} > ${to.name}: ${String(fault)} ${(fault as Error).stack?.split("\n")[1] ?? ""}`);
  }).flat();

  expect(faults).toEqual([]);
  expect(told).toBeGreaterThan(CASES);
  expect(PAIRS.length).toBeGreaterThanOrEqual(6);
});
