import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { AskedInPath } from "../src/codec.ts";
import { findCodec } from "../src/codecs.ts";
import { translateRequest } from "../src/translate.ts";

/** A request of an SDK's shape, and what a provider of another dialect gets of it, with what its caller is told. */
const FOLDER = new URL("golden/", import.meta.url);

interface Golden {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  /** Of a dialect whose path says it. */
  readonly inPath?: AskedInPath;
  readonly target: { readonly model: string; readonly maxOutputTokens: number | null };
  readonly provider: unknown;
  readonly dropped: readonly string[];
  readonly changed: readonly string[];
}

describe.each(readdirSync(FOLDER))("%s", (file) => {
  const text = readFileSync(new URL(file, FOLDER), "utf8");
  const golden = JSON.parse(text) as Golden;

  test(`${golden.what}`, () => {
    const { from, to, target } = golden;
    // As it stands in the file: digits that JavaScript would round are in it.
    const request = text.slice(text.indexOf('"request":') + '"request":'.length, text.indexOf(',\n  "provider":'));
    const served = { model: target.model, maxOutputTokens: target.maxOutputTokens ?? undefined };
    const translated = translateRequest(request, findCodec(from), findCodec(to), served, golden.inPath);

    expect({
      provider: JSON.parse(translated.body) as unknown,
      dropped: translated.droppedFields,
      changed: translated.changedFields,
    }).toEqual({ provider: golden.provider, dropped: golden.dropped, changed: golden.changed });
  });
});

test("digits that JavaScript would round are not changed on the way, in either direction", () => {
  const asked =
    '{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":{"id":12345678901234567890,"x":1e400}}]}]}';
  const chat = translateRequest(asked, findCodec("anthropic-messages"), findCodec("openai-chat"), {
    model: "gpt-5",
    maxOutputTokens: undefined,
  });
  const back = translateRequest(chat.body, findCodec("openai-chat"), findCodec("anthropic-messages"), {
    model: "m",
    maxOutputTokens: undefined,
  });

  expect(chat.body).toContain(String.raw`{\"id\":12345678901234567890,\"x\":1e400}`);
  expect(back.body).toContain('{"id":12345678901234567890,"x":1e400}');
});
