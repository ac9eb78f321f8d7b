import fc from "fast-check";
import type { AnswerEvent, Finish, OpenPart } from "../src/answer.ts";
import type { CacheMark, Conversation, Part, ResultPart, Settings, Turn } from "../src/conversation.ts";

/** Conversations and answers that every dialect of the caller's choice can say: what one cannot say at all is a case of its own elsewhere. */

/** What a dialect can say beside what all can. */
export interface Abilities {
  readonly cacheMarks: boolean;
  readonly toolErrors: boolean;
  readonly citedDocuments: boolean;
  readonly imageDetail: boolean;
  readonly resultMedia: boolean;
  readonly topK: boolean;
  readonly penalties: boolean;
  readonly schemaNames: boolean;
  readonly stop: boolean;
  /** A result says which tool it is of. */
  readonly resultNames: boolean;
  /** Titles of documents, strict tools, several calls or one, a user, a tier. */
  readonly titles: boolean;
  readonly strictTools: boolean;
  readonly parallelCalls: boolean;
  readonly users: boolean;
  /** What is not said is written as what it is by default: a detail of images, a tool that is not strict, instructions in one piece. */
  readonly hasDefaults: boolean;
  /** The dialect's own signed thoughts. */
  readonly thoughtsOf: string | undefined;
}

const word = fc.stringMatching(/^[a-z][a-z0-9_]{0,15}$/);
const text = fc.string({ unit: "binary", minLength: 1, maxLength: 40 }).filter((one) => one.isWellFormed());
const base64 = fc.base64String({ maxLength: 32 });
const optional = <Value>(arbitrary: fc.Arbitrary<Value>, isAble = true): fc.Arbitrary<Value | undefined> =>
  isAble ? fc.option(arbitrary, { nil: undefined }) : fc.constant(undefined);
const json = fc.dictionary(word, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }).map((value) => JSON.stringify(value));
const schema = fc.constantFrom(
  { type: "object", properties: {} },
  { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
);

function cacheOf({ cacheMarks }: Abilities): fc.Arbitrary<CacheMark | undefined> {
  return optional(fc.record({ lifetime: fc.constantFrom("5m" as const, "1h" as const, undefined) }), cacheMarks);
}

function textPart(abilities: Abilities): fc.Arbitrary<Part & { kind: "text" }> {
  return fc.record({ kind: fc.constant("text" as const), text, cache: cacheOf(abilities) });
}

function imagePart(abilities: Abilities): fc.Arbitrary<Part & { kind: "image" }> {
  const source = fc.oneof(
    fc.record({ kind: fc.constant("url" as const), url: fc.webUrl() }),
    fc.record({ kind: fc.constant("base64" as const), mediaType: fc.constantFrom("image/png", "image/jpeg"), data: base64 }),
  );
  return fc.record({
    kind: fc.constant("image" as const),
    source,
    detail: abilities.hasDefaults
      ? fc.constantFrom("low", "high", "auto")
      : optional(fc.constantFrom("low", "high", "auto"), abilities.imageDetail),
    cache: cacheOf(abilities),
  });
}

function documentPart(abilities: Abilities): fc.Arbitrary<Part & { kind: "document" }> {
  return fc.record({
    kind: fc.constant("document" as const),
    source: fc.record({ kind: fc.constant("base64" as const), mediaType: fc.constant("application/pdf"), data: base64 }),
    title: abilities.titles ? word.map((name) => `${name}.pdf`) : fc.constant(undefined),
    context: optional(text, abilities.citedDocuments),
    isCited: optional(fc.boolean(), abilities.citedDocuments),
    cache: cacheOf(abilities),
  });
}

function resultPart(abilities: Abilities): fc.Arbitrary<ResultPart> {
  return abilities.resultMedia
    ? fc.oneof(textPart(abilities), imagePart(abilities), documentPart(abilities))
    : textPart({ ...abilities, cacheMarks: false });
}

/** A question, then answers that call tools and what the tools said, in turn. */
function turns(abilities: Abilities): fc.Arbitrary<readonly Turn[]> {
  const asked = fc.array(fc.oneof(textPart(abilities), imagePart(abilities), documentPart(abilities)), { minLength: 1, maxLength: 3 });
  const thought = fc.record({
    kind: fc.constant("thinking" as const),
    text,
    signature: fc.record({
      origin: fc.constant(abilities.thoughtsOf ?? ""),
      value: word,
      id: abilities.hasDefaults ? word : fc.constant(undefined),
    }),
  });
  const round = fc.record({
    thoughts: abilities.thoughtsOf === undefined ? fc.constant([]) : fc.array(thought, { maxLength: 1 }),
    said: fc.array(textPart({ ...abilities, cacheMarks: false }), { maxLength: 2 }),
    calls: fc.array(
      fc.record({
        id: fc.uuid(),
        name: word,
        input: json,
        content: fc.array(resultPart(abilities), { minLength: 1, maxLength: 2 }),
        isError: optional(fc.constant(true), abilities.toolErrors),
      }),
      { minLength: 1, maxLength: 2 },
    ),
    more: fc.array(textPart(abilities), { maxLength: 1 }),
  });
  return fc.tuple(asked, fc.array(round, { maxLength: 2 })).map(([first, rounds]) => [
    { role: "user", parts: first },
    ...rounds.flatMap(({ thoughts, said, calls, more }): readonly Turn[] => [
      {
        role: "assistant",
        parts: [...thoughts, ...said, ...calls.map(({ id, name, input }) => ({ kind: "toolCall", id, name, input }) as const)],
      },
      {
        role: "user",
        parts: [
          ...calls.map(
            ({ id, name, content, isError }) =>
              ({ kind: "toolResult", callId: id, name: abilities.resultNames ? name : undefined, content, isError }) as const,
          ),
          ...more,
        ],
      },
    ]),
  ]);
}

function settings({
  topK,
  penalties,
  schemaNames,
  stop,
  strictTools,
  parallelCalls,
  users,
  hasDefaults,
}: Abilities): fc.Arbitrary<Settings> {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const output = fc.record({
    kind: fc.constant("schema" as const),
    name: schemaNames ? word : fc.constant(undefined),
    schema,
    isStrict: fc.constant(true),
  });
  const tool = fc.record({
    kind: fc.constant("function" as const),
    name: word,
    description: optional(text),
    schema,
    isStrict: hasDefaults ? fc.boolean() : optional(fc.boolean(), strictTools),
  });
  const named = fc.record({ kind: fc.constant("tool" as const), name: word });
  const choice = fc.oneof(fc.record({ kind: fc.constantFrom("auto" as const, "required" as const) }), named);
  return fc.record({
    isStream: fc.boolean(),
    wantsStreamUsage: fc.constant(true),
    maxOutputTokens: fc.integer({ min: 16, max: 8_000 }),
    temperature: optional(share),
    topP: optional(share),
    topK: optional(fc.integer({ min: 1, max: 100 }), topK),
    seed: optional(fc.integer(), penalties),
    frequencyPenalty: optional(share, penalties),
    presencePenalty: optional(share, penalties),
    stop: optional(fc.array(word, { minLength: 1, maxLength: 4 }), stop),
    tools: fc.array(tool, { minLength: 1, maxLength: 3 }),
    toolChoice: choice,
    parallelToolCalls: parallelCalls ? fc.boolean() : fc.constant(undefined),
    output: optional(output),
    user: optional(word, users),
    serviceTier: optional(fc.constantFrom("auto" as const, "standard" as const), users),
  });
}

/** A conversation that a dialect with these abilities can say, word for word. */
export function conversations(abilities: Abilities): fc.Arbitrary<Conversation> {
  return fc.record({
    model: word,
    system: fc.array(textPart(abilities), { maxLength: abilities.hasDefaults ? 1 : 2 }),
    turns: turns(abilities),
    settings: settings(abilities),
  });
}

function part(opened: fc.Arbitrary<OpenPart>, pieces: fc.Arbitrary<readonly string[]>): fc.Arbitrary<readonly AnswerEvent[]> {
  return fc
    .tuple(opened, pieces)
    .map(([one, said]) => [
      { kind: "open", part: one },
      ...said.map((delta) => ({ kind: "delta", text: delta }) as const),
      { kind: "close" },
    ]);
}

/** The events of an answer; each part has words, in one piece or several. */
export function answers(thoughtsOf: string): fc.Arbitrary<readonly AnswerEvent[]> {
  const words = fc.array(text, { minLength: 1, maxLength: 3 });
  const signed = fc.tuple(words, word).map(([said, own]): readonly AnswerEvent[] => [
    { kind: "open", part: { kind: "thinking" } },
    ...said.map((delta) => ({ kind: "delta", text: delta }) as const),
    // Responses name a thought, too.
    { kind: "signature", signature: { origin: thoughtsOf, value: own, ...(thoughtsOf === "openai-responses" && { id: `rs_${own}` }) } },
    { kind: "close" },
  ]);
  const call = part(
    fc.record({ kind: fc.constant("toolCall" as const), id: fc.uuid(), name: word }),
    fc.tuple(json).map(([said]) => [said.slice(0, 3), said.slice(3)].filter((one) => one !== "")),
  );
  const said = part(fc.constant({ kind: "text" as const }), words);
  const finish: fc.Arbitrary<Finish> = fc.record({ reason: fc.constantFrom("end" as const, "length" as const, "refusal" as const) });
  return fc
    .record({
      id: word,
      model: word,
      thoughts: fc.array(signed, { maxLength: 1 }),
      texts: fc.array(said, { maxLength: 1 }),
      calls: fc.array(call, { maxLength: 2 }),
      finish,
    })
    .map(({ id, model, thoughts, texts, calls, finish: ends }) => [
      { kind: "start", id, model },
      ...[...thoughts, ...texts, ...calls].flat(),
      { kind: "finish", finish: calls.length > 0 && ends.reason === "end" ? { reason: "tool_calls" } : ends },
    ]);
}
