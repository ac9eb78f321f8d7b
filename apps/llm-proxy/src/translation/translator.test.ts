import { anthropicMessagesCodec, openaiChatCodec } from "@proliferate/conversation";
import { afterEach, expect, test } from "vitest";
import { requireTranslatable, Translator } from "./translator.ts";

const TARGET = { model: "gpt-5", maxOutputTokens: 1_000 };
const bodyOf = (content: unknown, size: number): Buffer =>
  Buffer.from(JSON.stringify({ model: "m", max_tokens: 5_000, messages: [{ role: "user", content }], top_k: 1, note: "x".repeat(size) }));
const LARGE = 300 * 1024;

let translator: Translator;
afterEach(async () => translator.stop());

test("a large body is translated on a thread as a small one is at once, and refused in the same words", async () => {
  translator = new Translator();
  const translate = async (content: unknown, size: number) =>
    translator.translate(bodyOf(content, size), anthropicMessagesCodec, openaiChatCodec, TARGET);
  const [small, large] = [await translate("Grüße 👋", 1), await translate("Grüße 👋", LARGE)];

  expect(large).toEqual(small);
  expect(JSON.parse(large.bytes.toString())).toMatchObject({
    max_completion_tokens: 1_000,
    messages: [{ role: "user", content: "Grüße 👋" }],
  });
  expect([large.droppedFields, large.changedFields]).toEqual([["note", "top_k"], ["max_tokens"]]);
  const refused = { code: "not_translatable", param: "messages[0].content[0]" };
  await expect(translate([{ type: "hologram" }], 1)).rejects.toMatchObject(refused);
  await expect(translate([{ type: "hologram" }], LARGE)).rejects.toMatchObject(refused);
});

test("many large bodies are translated side by side, each as its own", async () => {
  translator = new Translator();
  const texts = Array.from({ length: 8 }, (_, index) => `body ${index}`);
  const made = await Promise.all(
    texts.map(async (text) => translator.translate(bodyOf(text, LARGE), anthropicMessagesCodec, openaiChatCodec, TARGET)),
  );

  expect(made.map(({ bytes }) => (JSON.parse(bytes.toString()) as { messages: { content: string }[] }).messages[0]?.content)).toEqual(
    texts,
  );
});

test("where the thread ends, who waits for it is told to come back, and the next body gets another one", async () => {
  translator = new Translator();
  const waiting = translator
    .translate(bodyOf("first", LARGE), anthropicMessagesCodec, openaiChatCodec, TARGET)
    .catch((error: unknown) => error);
  await translator.stop();
  expect(await waiting).toMatchObject({ code: "gateway_busy" });

  const next = await translator.translate(bodyOf("second", LARGE), anthropicMessagesCodec, openaiChatCodec, TARGET);
  expect(next.bytes.toString()).toContain("second");
});

test("what is too large to be a tree is refused before it is one", () => {
  translator = new Translator();
  const most = 16 * 1024 * 1024;

  expect(() => requireTranslatable(most)).not.toThrow();
  expect(() => requireTranslatable(most + 1)).toThrow(expect.objectContaining({ code: "request_too_large" }));
});
