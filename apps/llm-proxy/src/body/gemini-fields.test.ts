import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { gemini } from "../dialects/gemini.ts";
import { FactCollector } from "./fact-collector.ts";
import { JsonScanner } from "./json-scanner.ts";
import type { RequestFacts } from "./request-facts.ts";

const CONTENTS = { contents: [{ parts: [{ text: "Say something." }] }] };

function factsOf(body: object): RequestFacts {
  const bytes = Buffer.from(JSON.stringify(body));
  const collector = new FactCollector(bytes.length, { model: "gemini-2.5-pro", isStream: true });
  new JsonScanner(bytes, gemini.body, collector).advance(bytes.length);
  return collector.facts();
}

const part = (value: object) => ({ contents: [{ role: "user", parts: [value] }] });
const config = (generationConfig: object) => ({ ...CONTENTS, generationConfig });
const unjudged = (path: string, why: RequestFacts["unjudged"][number]["why"]) => ({ unjudged: [{ path, why }] });
const input = (path: string, kind: RequestFacts["unmeasuredInputs"][number]["kind"]) => ({ unmeasuredInputs: [{ path, kind }] });
const INLINE = "contents[0].parts[0].inlineData.data";

/** As README.md writes the field, with a body that uses it and what follows. */
const EXAMPLES: readonly (readonly [field: string, body: object, facts: Partial<RequestFacts>])[] = [
  ["generationConfig.maxOutputTokens", config({ maxOutputTokens: 7 }), { maxOutputTokens: 7 }],
  ["generationConfig.maxOutputTokens", { ...CONTENTS, generation_config: { max_output_tokens: 7 } }, { maxOutputTokens: 7 }],
  ["generationConfig.maxOutputTokens", config({ maxOutputTokens: "7" }), { maxOutputTokens: undefined }],
  ["generationConfig.candidateCount", config({ candidateCount: 3 }), { choices: 3 }],
  ["generationConfig.thinkingConfig", config({ thinkingConfig: { thinkingBudget: 0 } }), { reasoning: "off" }],
  ["generationConfig.thinkingConfig", config({ thinkingConfig: { thinkingBudget: -1 } }), { reasoning: "on" }],
  ["generationConfig.thinkingConfig", config({ thinking_config: { thinking_level: "LOW" } }), { reasoning: "on" }],
  ["generationConfig.thinkingConfig", config({}), { reasoning: undefined }],
  ["generationConfig.responseModalities", config({ responseModalities: ["TEXT"] }), { unjudged: [] }],
  [
    "generationConfig.responseModalities",
    config({ responseModalities: ["TEXT", "AUDIO"] }),
    unjudged("generationConfig.responseModalities[1]", "unknown_value"),
  ],
  ["generationConfig: any other field", config({ routingConfig: {} }), unjudged("generationConfig.routingConfig", "unknown_value")],
  ["serviceTier", { ...CONTENTS, service_tier: "flex" }, unjudged("service_tier", "unknown_value")],
  ["serviceTier", { ...CONTENTS, serviceTier: "standard" }, { unjudged: [] }],
  ["tools[]", { ...CONTENTS, tools: [{ functionDeclarations: [{ name: "model" }] }] }, { unjudged: [], serverTools: [] }],
  ["tools[]", { ...CONTENTS, tools: [{ google_maps: {} }] }, unjudged("tools[0].google_maps", "unknown_server_tool")],
  ["tools[]", { ...CONTENTS, tools: [{ FUNCTIONDECLARATIONS: [] }] }, unjudged("tools[0].FUNCTIONDECLARATIONS", "unknown_server_tool")],
  [
    "inlineData",
    part({ inlineData: { mimeType: "image/png", data: "AAAA" } }),
    { unmeasuredInputs: [], audio: { input: false, output: false } },
  ],
  ["inlineData", part({ inline_data: { mime_type: "audio/mp3", data: "AAAA" } }), { audio: { input: true, output: false } }],
  ["inlineData", part({ inlineData: { mimeType: "application/pdf", data: "AAAA" } }), input(INLINE, "document")],
  [
    "inlineData",
    part({ inlineData: { mimeType: "video/mp4", data: "AAAA" } }),
    { ...input(INLINE, "document"), audio: { input: true, output: false } },
  ],
  [
    "inlineData",
    part({
      functionResponse: { name: "f", response: { inlineData: { data: "x" } }, parts: [{ inlineData: { mimeType: "a/b", data: "A" } }] },
    }),
    input("contents[0].parts[0].functionResponse.parts[0].inlineData.data", "document"),
  ],
  [
    "fileData.fileUri",
    part({ fileData: { fileUri: "https://www.youtube.com/watch?v=x" } }),
    { ...input("contents[0].parts[0].fileData.fileUri", "url"), audio: { input: true, output: false } },
  ],
  [
    "any other field",
    { ...CONTENTS, judge_model: "x" },
    { ...unjudged("judge_model", "unknown_field_names_model"), unknownFields: ["judge_model"] },
  ],
];

test.each(EXAMPLES)("clients F9: gemini %s: %j", (_, body, facts) => {
  expect(factsOf(body)).toMatchObject({ model: "gemini-2.5-pro", stream: true, ...facts });
});

describe("clients F9: what is kept at Google, or named twice, is refused by name", () => {
  test.each([
    [{ ...CONTENTS, cachedContent: "cachedContents/x" }, "cachedContent"],
    [{ ...CONTENTS, continuation_token: "x" }, "continuation_token"],
    [part({ fileData: { fileUri: "files/x" } }), "contents[0].parts[0].fileData.fileUri"],
    [part({ fileData: { fileUri: "gs://bucket/x" } }), "contents[0].parts[0].fileData.fileUri"],
    [
      part({ file_data: { file_uri: "HTTPS://GenerativeLanguage.googleapis.com/v1beta/files/x" } }),
      "contents[0].parts[0].file_data.file_uri",
    ],
    [part({ fileData: { fileUri: "https://storage.googleapis.com/x" } }), "contents[0].parts[0].fileData.fileUri"],
    [{ systemInstruction: { parts: [{ fileData: { fileUri: "files/x" } }] }, ...CONTENTS }, "systemInstruction.parts[0].fileData.fileUri"],
    [part({ inlineData: { data: "x", mimeType: "image/png", mime_type: "audio/mp3" } }), "contents[0].parts[0].inlineData.mime_type"],
    [{ ...CONTENTS, model: "models/gemini-2.5-flash" }, "model"],
    [{ ...CONTENTS, stream: true }, "stream"],
    [{ ...CONTENTS, generationconfig: {} }, "generationconfig"],
    [{ ...CONTENTS, CACHEDCONTENT: "x" }, "CACHEDCONTENT"],
    [{ generateContentRequest: { model: "x" } }, "generateContentRequest"],
    [{}, "contents"],
  ])("%j", (body, param) => {
    expect(() => factsOf(body)).toThrow(expect.objectContaining({ code: "invalid_request", param }));
  });
});

test("clients F9: what a tool was called with, and a schema, names no file and no model", () => {
  const body = {
    contents: [
      { parts: [{ functionCall: { name: "f", args: { fileData: { fileUri: "files/x" }, model: "y" } } }] },
      { parts: [{ functionResponse: { name: "f", response: { cachedContent: "z", inlineData: { data: "A" } } } }] },
    ],
    tools: [{ functionDeclarations: [{ name: "f", parametersJsonSchema: { properties: { model: {}, googleSearch: {} } } }] }],
    generationConfig: { responseJsonSchema: { properties: { model: {} } }, responseSchema: { type: "OBJECT" } },
    safetySettings: [],
  };

  expect(factsOf(body)).toMatchObject({ unmeasuredInputs: [], unjudged: [], namedModels: [], unknownFields: [] });
});

test("README.md has a row for each field of gemini that has an example, and no other", async () => {
  const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
  const rows = [...readme.matchAll(/^\| gemini \| `([^`]+)` \|/gm)].map(([, field]) => field);

  expect(rows.toSorted()).toEqual([...new Set(EXAMPLES.map(([field]) => field))].toSorted());
});

/** A field that the SDK learns is one that somebody has to judge: of the configuration every other one is refused, so that none can be missed. */
test("every field of a tool and of the configuration that Google's SDK knows is judged", async () => {
  const types = await readFile(new URL("../../node_modules/@google/genai/dist/genai.d.ts", import.meta.url), "utf8");
  const fieldsOf = (type: string): readonly string[] => {
    const start = types.indexOf(`interface ${type} {`);
    return [...types.slice(start, types.indexOf("\n}", start)).matchAll(/^ {4}(\w+)\??: /gm)].map(([, name]) => name ?? "");
  };
  const tools = fieldsOf("Tool").filter((name) => name !== "functionDeclarations");
  const settings = fieldsOf("GenerationConfig");
  const pass = settings.filter((name) => factsOf(config({ [name]: name === "candidateCount" ? 1 : {} })).unjudged.length === 0);

  expect([tools.length, settings.length]).toEqual([12, 26]);
  expect(tools.filter((name) => factsOf({ ...CONTENTS, tools: [{ [name]: {} }] }).unjudged.length === 0)).toEqual([]);
  expect(settings.filter((name) => !pass.includes(name))).toEqual([
    "modelSelectionConfig",
    "audioTranscriptionConfig",
    "enableAffectiveDialog",
    "routingConfig",
    "translationConfig",
  ]);
});
