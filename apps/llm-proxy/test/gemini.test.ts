import { type GenerateContentResponse, GoogleGenAI, type ApiError } from "@google/genai";
import { GoogleGenAI as GoogleGenAI1 } from "google-genai-1";
import { findSpendLog } from "@proliferate/access/spend-logs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mintKey, PROVIDER_KEY } from "./proxy-process.ts";
import { inFlight, NOTHING_IN_FLIGHT, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const MODEL = "gemini-2.5-flash";
const CONTENTS = "Say something.";
const WEATHER = {
  name: "weather",
  description: "The weather.",
  parametersJsonSchema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

/** Google's library of today, and the one that Gemini CLI 0.61 is made of. */
const LIBRARIES = [
  ["@google/genai 3.3.0", GoogleGenAI],
  ["@google/genai 1.30.0", GoogleGenAI1 as unknown as typeof GoogleGenAI],
] as const;

function clientOf(Library: typeof GoogleGenAI, key = stack.key): GoogleGenAI {
  return new Library({ apiKey: key, httpOptions: { baseUrl: stack.proxy.url } });
}

/** The row of the newest request of a caller that sees no header of ours. */
async function lastRow() {
  const id = await stack.database.db
    .selectFrom("LiteLLM_SpendLogs")
    .select("request_id")
    .orderBy("startTime", "desc")
    .limit(1)
    .executeTakeFirstOrThrow();
  return findSpendLog(stack.database.db, id.request_id);
}

async function failureOf(
  promise: Promise<unknown>,
): Promise<ApiError & { readonly envelope: { readonly error: Readonly<Record<string, unknown>> } }> {
  const error = (await promise.then(
    () => new Error("nothing failed"),
    (thrown: unknown) => thrown,
  )) as ApiError;
  return Object.assign(error, { envelope: JSON.parse(/\{.*\}/s.exec(error.message)?.[0] ?? "{}") as never });
}

async function collect(stream: AsyncIterable<GenerateContentResponse>): Promise<readonly GenerateContentResponse[]> {
  const chunks: GenerateContentResponse[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

describe.each(LIBRARIES)("clients F9: %s", (_, Library) => {
  test("gets an answer whose spend row exists when it has it", async () => {
    const answer = await clientOf(Library).models.generateContent({ model: MODEL, contents: CONTENTS });

    const row = await lastRow();
    expect(answer.text).toContain(CONTENTS);
    expect(row).toMatchObject({
      call_type: "agenerate_content",
      model: `gemini/${MODEL}`,
      custom_llm_provider: "gemini",
      status: "success",
      prompt_tokens: answer.usageMetadata?.promptTokenCount,
      completion_tokens: answer.usageMetadata?.candidatesTokenCount,
    });
    expect(row?.metadata).toMatchObject({ provider_response_id: answer.responseId, estimated: false });
    expect(row?.metadata).not.toHaveProperty("unknown_usage");
    expect(Number(row?.spend)).toBe(Number(`${(row?.prompt_tokens ?? 0) * 3 + (row?.completion_tokens ?? 0) * 25}e-7`));
  });

  test("gets a stream, thoughts in it, and the spend row exists when it has ended", async () => {
    stack.provider.scriptNext({ thinking: "Hm. ", text: "A long answer, of which more than one chunk is made." });
    const config = { thinkingConfig: { thinkingBudget: 512, includeThoughts: true } };
    const chunks = await collect(await clientOf(Library).models.generateContentStream({ model: MODEL, contents: CONTENTS, config }));

    const row = await lastRow();
    const usage = chunks.at(-1)?.usageMetadata;
    expect(chunks.length).toBeGreaterThan(2);
    expect(chunks.at(-1)?.candidates?.[0]?.finishReason).toBe("STOP");
    expect(row).toMatchObject({
      status: "success",
      prompt_tokens: usage?.promptTokenCount,
      completion_tokens: (usage?.candidatesTokenCount ?? 0) + (usage?.thoughtsTokenCount ?? 0),
    });
    expect(row?.metadata).toMatchObject({ estimated: false });
  });

  test("calls a tool and gives its result back", async () => {
    const client = clientOf(Library);
    const config = { tools: [{ functionDeclarations: [WEATHER] }] };
    const question = { role: "user", parts: [{ text: "Please use the weather tool." }] };
    const asked = await client.models.generateContent({ model: MODEL, contents: [question], config });
    const call = asked.functionCalls?.[0];
    const result = { role: "user", parts: [{ functionResponse: { name: "weather", response: { output: "Rain." } } }] };
    const content = asked.candidates?.[0]?.content ?? {};
    const chunks = await collect(
      await client.models.generateContentStream({ model: MODEL, contents: [question, content, result], config }),
    );

    expect(call?.name).toBe("weather");
    expect(chunks.map(({ text }) => text).join("")).toContain("Rain.");
  });

  test("counts tokens for nothing", async () => {
    const before = await stack.database.db.selectFrom("LiteLLM_SpendLogs").select("request_id").execute();
    const { totalTokens } = await clientOf(Library).models.countTokens({ model: MODEL, contents: CONTENTS });

    expect(totalTokens).toBeGreaterThan(0);
    expect(await stack.database.db.selectFrom("LiteLLM_SpendLogs").select("request_id").execute()).toHaveLength(before.length);
  });

  test("lists models page by page, those that are translated included, each once, and gets one", async () => {
    const client = clientOf(Library);
    const names: string[] = [];
    for await (const { name } of await client.models.list({ config: { pageSize: 3 } })) names.push(name ?? "");
    const one = await client.models.get({ model: MODEL });

    expect(names).toEqual(expect.arrayContaining([`models/${MODEL}`, "models/claude-haiku-4-5", "models/gpt-4o-mini"]));
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => name.includes("embedding") || name.startsWith("models/gemini/"))).toEqual([]);
    expect(one).toMatchObject({ name: `models/${MODEL}`, outputTokenLimit: 65_536 });
  });

  test.each([
    ["an unknown key", 401, "UNAUTHENTICATED", "INVALID_API_KEY"],
    ["an unknown model", 404, "NOT_FOUND", "MODEL_NOT_FOUND"],
    ["a spent budget", 402, "FAILED_PRECONDITION", "BUDGET_EXCEEDED"],
  ] as const)("%s is told in Google's envelope", async (what, code, status, reason) => {
    const key =
      what === "an unknown key"
        ? "sk-nobody-has-this"
        : (await mintKey(stack.proxy, what === "a spent budget" ? { max_budget: 0 } : {})).key;
    const model = what === "an unknown model" ? "gemini-0" : MODEL;
    const error = await failureOf(clientOf(Library, key).models.generateContent({ model, contents: CONTENTS }));

    expect(error.status).toBe(code);
    expect(error.envelope.error).toMatchObject({ code, status, details: [{ reason, domain: "gateway" }] });
    expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  });

  test("the provider's own error comes through", async () => {
    stack.provider.failNext({ kind: "status", status: 400, message: "The prompt is too long." });
    const error = await failureOf(clientOf(Library).models.generateContent({ model: MODEL, contents: CONTENTS }));

    expect(error.status).toBe(400);
    expect(error.envelope.error).toMatchObject({ code: 400, status: "INVALID_ARGUMENT", message: "The prompt is too long." });
  });

  test.each(["end_early", "cut_mid_stream"] as const)("a stream that breaks raises: %s", async (kind) => {
    stack.provider.scriptNext({ fault: { kind, afterFrames: 1 }, text: "A long answer, of which more than one chunk is made." });
    const stream = await clientOf(Library).models.generateContentStream({ model: MODEL, contents: CONTENTS });
    await expect(collect(stream)).rejects.toThrow(Library === GoogleGenAI ? "Service unavailable" : "");

    expect(await lastRow()).toMatchObject({ status: "failure", metadata: { estimated: true } });
  });
});

/** To the data plane, with a key as Google's clients show it. */
async function ask(target: string, body: unknown = { contents: [{ parts: [{ text: CONTENTS }] }] }, key = stack.key): Promise<Response> {
  return fetch(`${stack.proxy.url}${target}`, {
    method: "POST",
    headers: { "x-goog-api-key": key, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

const generate = (model: string): string => `/v1beta/models/${model}:generateContent`;

test("clients F9: bytes pass as they came, the key stays here, and an alias becomes the provider's model in the path", async () => {
  const { key } = await mintKey(stack.proxy, { aliases: { mine: `gemini/${MODEL}` } });
  const body = `{ "contents" : [{"parts":[{"text":"Say something."}]}], "generation_config":{"temperature":1.50, "max_output_tokens":64} }`;
  for (const [name, path] of [
    ["mine", "/v1beta/models/mine:generateContent?quotaUser=me"],
    [`gemini/${MODEL}`, `/v1beta/models/gemini%2F${MODEL}:generateContent`],
    [MODEL, `/v1/models/${MODEL}:generateContent`],
    [MODEL, `/v1beta/v1beta/models/${MODEL}:generateContent`],
  ] as const) {
    const response = await ask(path, body, key);
    expect([name, response.status]).toEqual([name, 200]);
    const sent = stack.provider.requests.at(-1);
    expect(sent?.path).toBe(`${generate(MODEL)}${path.includes("?") ? "?quotaUser=me" : ""}`);
    expect(sent?.body.toString()).toBe(body);
    expect(sent?.headers["x-goog-api-key"]).toBe(PROVIDER_KEY);
    expect(sent?.headers.authorization).toBeUndefined();
    await response.text();
    const row = await spendLogOf(stack, response.headers.get("x-litellm-call-id") ?? "");
    expect(row).toMatchObject({ status: "success", model: `gemini/${MODEL}` });
  }
});

interface Refused {
  readonly error: { readonly code: number; readonly message: string; readonly status: string };
}

test.each([
  ["a key in the query", `${generate(MODEL)}?key=sk-in-the-query`, 400, "x-goog-api-key"],
  ["a mask of fields", `${generate(MODEL)}?fields=candidates`, 400, "fields in the query"],
  ["a parameter of the front end", `${generate(MODEL)}?$alt=proto`, 400, "$alt in the query"],
  ["a stream as a list", `/v1beta/models/${MODEL}:streamGenerateContent`, 400, "?alt=sse"],
  ["events of a whole answer", `${generate(MODEL)}?alt=sse`, 400, "alt in the query"],
  ["a batch", `/v1beta/models/${MODEL}:batchGenerateContent`, 404, "Batches are not served"],
  ["an embedding", `/v1beta/models/${MODEL}:embedContent`, 404, "/v1/embeddings"],
  ["a picture", "/v1beta/models/imagen-4:predict", 404, "Images are not served"],
  ["an upload", "/upload/v1beta/files", 404, "inlineData"],
  ["a file", "/v1beta/files/abc", 404, "inlineData"],
  ["a cached content", "/v1beta/cachedContents", 404, "Cached contents are not served"],
  ["another method", `/v1beta/models/${MODEL}:newMethod`, 404, "no such route"],
  ["another route", "/v1beta/agents", 404, "no such route"],
] as const)("clients F9: %s is refused in Google's envelope, and nothing is forwarded", async (_, target, code, says) => {
  const before = stack.provider.requests.length;
  const response = await ask(target);
  const text = await response.text();

  expect((JSON.parse(text) as Refused).error).toMatchObject({
    code,
    message: expect.stringContaining(says),
    status: expect.stringMatching(/^[A-Z_]+$/),
  });
  expect(response.status).toBe(code);
  expect(text).not.toContain("sk-in-the-query");
  expect(stack.proxy.log()).not.toContain("sk-in-the-query");
  expect(stack.provider.requests).toHaveLength(before);
});

test.each([
  [{ cachedContent: "cachedContents/x" }, "cachedContent"],
  [{ cached_content: "cachedContents/x" }, "cached_content"],
  [{ model: "models/gemini-2.5-pro" }, "model"],
  [{ generateContentRequest: { model: "models/gemini-2.5-pro" } }, "generateContentRequest"],
  [{ serviceTier: "priority" }, "serviceTier"],
  [{ tools: [{ googleSearch: {} }] }, "tools[0].googleSearch"],
  [{ tools: [{ google_search: {} }] }, "tools[0].google_search"],
  [{ tools: [{ codeExecution: {} }] }, "tools[0].codeExecution"],
  [{ tools: { urlContext: {} } }, "tools.urlContext"],
  [{ tools: [{ somethingNew: {} }] }, "tools[0].somethingNew"],
  [{ generationConfig: { responseModalities: ["IMAGE"] } }, "generationConfig.responseModalities[0]"],
  [{ generationConfig: { modelSelectionConfig: {} } }, "generationConfig.modelSelectionConfig"],
  [{ generationConfig: { candidateCount: "2" } }, "generationConfig.candidateCount"],
  [{ generationConfig: { maxOutputTokens: 5, max_output_tokens: 50_000 } }, "generationConfig.max_output_tokens"],
  [{ generationConfig: {}, generation_config: {} }, "generation_config"],
  [
    { contents: [{ parts: [{ fileData: { fileUri: "https://generativelanguage.googleapis.com/v1beta/files/x" } }] }] },
    "contents[0].parts[0].fileData.fileUri",
  ],
] as const)("clients F9: %j, which no price or nobody's right covers, is refused by name", async (fields, param) => {
  const before = stack.provider.requests.length;
  const response = await ask(generate(MODEL), { contents: [{ parts: [{ text: CONTENTS }] }], ...fields });

  expect([response.status, await response.text()]).toEqual([400, expect.stringContaining(param)]);
  expect(stack.provider.requests).toHaveLength(before);
});

test("clients F9: a key that opens the list of models opens none of their methods, and one of the group google_routes does", async () => {
  const list = (await mintKey(stack.proxy, { allowed_routes: ["/v1/models"] })).key;
  const google = (await mintKey(stack.proxy, { allowed_routes: ["google_routes"] })).key;

  expect((await ask(`/v1/models/${MODEL}:generateContent`, undefined, list)).status).toBe(403);
  expect((await ask(generate(MODEL), undefined, list)).status).toBe(403);
  expect((await ask(generate(MODEL), undefined, google)).status).toBe(200);
});

describe("clients F9: a provider that is silent", () => {
  let hurried: TestStack;
  beforeAll(async () => {
    hurried = await startTestStack({ NODE_OPTIONS: `--import=${new URL("hurried-pings.ts", import.meta.url)}` });
  });
  afterAll(() => hurried.stop());

  test.each(LIBRARIES.flatMap(([name, Library]) => [0, 1].map((beforeFrame) => [name, beforeFrame, Library] as const)))(
    "%s passes over the pings before frame %i",
    async (_, beforeFrame, Library) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const script = { hold: { beforeFrame, until: promise }, text: "A long answer, of which more than one chunk is made." };
      hurried.provider.scriptNext(script, script);
      const client = new Library({ apiKey: hurried.key, httpOptions: { baseUrl: hurried.proxy.url } });
      const collected = client.models.generateContentStream({ model: MODEL, contents: CONTENTS }).then(collect);
      const watched = await fetch(`${hurried.proxy.url}/v1beta/models/${MODEL}:streamGenerateContent?alt=sse`, {
        method: "POST",
        headers: { "x-goog-api-key": hurried.key },
        body: JSON.stringify({ contents: [{ parts: [{ text: CONTENTS }] }] }),
      });
      let text = "";
      const end = (async () => {
        for await (const piece of watched.body ?? []) text += Buffer.from(piece as Uint8Array).toString();
      })();
      await expect.poll(() => /(?:^|\r\n\r\n)\n{20,}$/.test(text)).toBe(true);
      resolve();
      await end;

      expect((await collected).map((one) => one.text).join("")).toBe(script.text);
    },
  );
});
