import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { anthropicMessagesCodec } from "../src/anthropic-messages/codec.ts";
import type { AnswerEvent, AnswerUsage } from "../src/answer.ts";
import type { AnswerContext, Codec } from "../src/codec.ts";
import { geminiCodec } from "../src/gemini/codec.ts";
import type { JsonObject } from "../src/json.ts";
import { Notes } from "../src/notes.ts";
import { openaiChatCodec } from "../src/openai-chat/codec.ts";
import { openaiResponsesCodec } from "../src/openai-responses/codec.ts";
import { FrameData } from "../src/sse.ts";
import { AnswerTranslation } from "../src/translate.ts";
import { mergedTurns } from "../src/turns.ts";
import { type Abilities, answers, conversations } from "./arbitrary-conversations.ts";

const ANTHROPIC: Abilities = {
  cacheMarks: true,
  toolErrors: true,
  citedDocuments: true,
  imageDetail: false,
  resultMedia: true,
  topK: true,
  penalties: false,
  schemaNames: false,
  stop: true,
  resultNames: false,
  titles: true,
  strictTools: true,
  parallelCalls: true,
  users: true,
  hasDefaults: false,
  thoughtsOf: "anthropic-messages",
};
const CHAT: Abilities = {
  cacheMarks: false,
  toolErrors: false,
  citedDocuments: false,
  imageDetail: true,
  resultMedia: false,
  topK: false,
  penalties: true,
  schemaNames: true,
  stop: true,
  resultNames: false,
  titles: true,
  strictTools: true,
  parallelCalls: true,
  users: true,
  hasDefaults: false,
  thoughtsOf: undefined,
};
const RESPONSES: Abilities = {
  cacheMarks: false,
  toolErrors: false,
  citedDocuments: false,
  imageDetail: true,
  resultMedia: true,
  topK: false,
  penalties: false,
  schemaNames: true,
  stop: false,
  resultNames: false,
  titles: true,
  strictTools: true,
  parallelCalls: true,
  users: true,
  hasDefaults: true,
  thoughtsOf: "openai-responses",
};
const GEMINI: Abilities = {
  cacheMarks: false,
  toolErrors: true,
  citedDocuments: false,
  imageDetail: false,
  resultMedia: false,
  topK: true,
  penalties: true,
  schemaNames: false,
  stop: true,
  resultNames: true,
  titles: false,
  strictTools: false,
  parallelCalls: false,
  users: false,
  hasDefaults: false,
  thoughtsOf: "gemini",
};
const DIALECTS: readonly (readonly [string, Codec, Abilities])[] = [
  ["anthropic-messages", anthropicMessagesCodec, ANTHROPIC],
  ["openai-chat", openaiChatCodec, CHAT],
  ["openai-responses", openaiResponsesCodec, RESPONSES],
  ["gemini", geminiCodec, GEMINI],
];
const USAGE: AnswerUsage = {
  inputTokens: 7,
  cacheReadTokens: 5,
  cacheWrite5mTokens: 3,
  cacheWrite1hTokens: 2,
  outputTokens: 11,
  reasoningTokens: 4,
};
const CONTEXT: AnswerContext = { id: "answer_1", model: "some-model", createdAtSeconds: 1, usage: () => USAGE, wantsStreamUsage: true };

/** What is undefined is not there. */
const plain = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value;

/** Neighbouring words in one piece: a dialect may cut them as it likes. */
function joined(events: readonly AnswerEvent[]): readonly AnswerEvent[] {
  const result: AnswerEvent[] = [];
  for (const event of events) {
    const last = result.at(-1);
    if (event.kind === "delta" && last?.kind === "delta") result[result.length - 1] = { kind: "delta", text: last.text + event.text };
    else result.push(event);
  }
  return plain(result);
}

function streamOf(codec: Codec, events: readonly AnswerEvent[]): Buffer {
  const writer = codec.streamWriter(CONTEXT);
  return Buffer.from(events.map((event) => writer.write(event)).join("") + writer.end());
}

function readStream(codec: Codec, pieces: readonly Uint8Array[]): readonly AnswerEvent[] {
  const [frames, reader] = [new FrameData(), codec.streamReader()];
  const events = pieces.flatMap((piece) => frames.push(piece)).flatMap((data) => (data ? reader.read(data) : []));
  return [...events, ...reader.end()];
}

describe.each(DIALECTS)("%s", (name, codec, abilities) => {
  test("a conversation that is written and read is the same conversation", () => {
    fc.assert(
      fc.property(conversations(abilities), (conversation) => {
        const target = { model: conversation.model, maxOutputTokens: undefined };
        const { body } = codec.writeRequest(conversation, target, new Notes());
        const { isStream } = conversation.settings;
        const inPath = { model: conversation.model, isStream };
        const read = codec.readRequest(JSON.parse(JSON.stringify(body)) as JsonObject, new Notes(), inPath);

        const expected = { ...conversation, settings: { ...conversation.settings, wantsStreamUsage: name !== "openai-chat" || isStream } };
        expect(plain({ ...read, turns: mergedTurns(read.turns) })).toEqual(plain(expected));
      }),
    );
  });

  test("an answer that is written and read is the same answer, whole and as a stream", () => {
    fc.assert(
      fc.property(answers(name), (events) => {
        const whole = codec.writeAnswer(events, CONTEXT);

        expect(joined(codec.readAnswer(plain(whole)))).toEqual(joined(events));
        expect(joined(readStream(codec, [streamOf(codec, events)]))).toEqual(joined(events));
      }),
    );
  });

  test("a stream is the same wherever it is cut: at each byte, and at all of them", () => {
    const [events] = fc.sample(answers(name), { numRuns: 1, seed: 7 });
    const stream = streamOf(codec, events ?? []);
    const whole = joined(readStream(codec, [stream]));
    for (let at = 0; at <= stream.length; at += 1) {
      expect(joined(readStream(codec, [stream.subarray(0, at), stream.subarray(at)]))).toEqual(whole);
    }
    expect(
      joined(
        readStream(
          codec,
          [...stream].map((byte) => Uint8Array.of(byte)),
        ),
      ),
    ).toEqual(whole);
  });
});

const PAIRS = DIALECTS.flatMap(([, from]) => DIALECTS.flatMap(([, to]) => (from === to ? [] : [[from.name, to.name, from, to] as const])));

describe.each(PAIRS)("an answer of %s for a caller of %s", (_from, _to, from, to) => {
  const translation = (): AnswerTranslation =>
    new AnswerTranslation({ ...CONTEXT, from, to, request: { renamedTools: new Map(), freeformTools: new Set(), wantsStreamUsage: true } });

  test("says the same streamed and whole, cut anywhere, and comes back to its own dialect with its signatures", () => {
    fc.assert(
      fc.property(answers(from.name), fc.nat(), (events, cut) => {
        const stream = streamOf(from, events);
        const at = cut % (stream.length + 1);
        const streaming = translation();
        const streamed = Buffer.concat([
          ...streaming.push([stream.subarray(0, at)]),
          ...streaming.push([stream.subarray(at)]),
          streaming.end(),
        ]);
        const whole = translation().whole(JSON.stringify(from.writeAnswer(events, CONTEXT)));

        const told = joined(readStream(to, [streamed]));
        expect(told).toEqual(joined(to.readAnswer(JSON.parse(whole.toString()) as JsonObject)));
        expect(told.filter(({ kind }) => kind === "signature")).toEqual(plain(events.filter(({ kind }) => kind === "signature")));
        expect(told.filter(({ kind }) => kind === "delta")).toEqual(joined(events).filter(({ kind }) => kind === "delta"));
      }),
    );
  });
});
