import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { jsonSchema, type LanguageModel, stepCountIs, streamText, tool } from "ai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Experiment, Laboratory } from "./laboratory.ts";
import { SDK_CLIENTS } from "./sdk-clients.ts";
import { SITUATIONS } from "./situations.ts";

/** Every major of the libraries, unmodified, with a model of the other API: what each calls for it is translated (docs/translation.md). */
let database: TestDatabase;
let laboratory: Laboratory;
beforeAll(async () => {
  database = await createTestDatabase();
  laboratory = await Laboratory.start(database.connectionString);
});
afterAll(async () => {
  await laboratory.stop();
  await database.drop();
});

const [ANSWERS] = SITUATIONS.filter(({ name }) => name === "answers");
const otherModel = (model: string): string => (model.startsWith("claude") ? "gpt-5-mini" : "claude-haiku-4-5");

async function begin(model: string): Promise<Experiment> {
  if (!ANSWERS) throw new Error("there is no such situation");
  return laboratory.begin(ANSWERS, model);
}

describe.each(SDK_CLIENTS.map((client) => [`${client.library} ${client.name}`, client] as const))("%s", (_name, client) => {
  test(`streams an answer of ${otherModel(client.model)}, and its row has what the provider served`, async () => {
    const experiment = await begin(otherModel(client.model));
    const text = await client.ask(experiment);
    const { providerRequests, differences } = await laboratory.end(experiment);

    expect(text).toContain(experiment.mark);
    expect([providerRequests, differences]).toEqual([1, []]);
  });
});

const settingsOf = ({ key, baseUrl }: Experiment): { apiKey: string; baseURL: string } => ({ apiKey: key, baseURL: `${baseUrl}/v1` });
const LOOPS: readonly (readonly [string, string, (experiment: Experiment) => LanguageModel])[] = [
  ["anthropic", "gpt-5-mini", (experiment) => createAnthropic(settingsOf(experiment))(experiment.model)],
  ["openai", "claude-haiku-4-5", (experiment) => createOpenAI(settingsOf(experiment))(experiment.model)],
  ["openai.chat", "claude-haiku-4-5", (experiment) => createOpenAI(settingsOf(experiment)).chat(experiment.model)],
  [
    "openai-compatible",
    "claude-haiku-4-5",
    (experiment) => createOpenAICompatible({ name: "gateway", ...settingsOf(experiment) })(experiment.model),
  ],
];

test.each(LOOPS)("the AI SDK with %s runs a whole tool loop on %s, streamed", async (_name, model, open) => {
  const experiment = await begin(model);
  const commands: unknown[] = [];
  const inputSchema = jsonSchema<{ command: string }>({
    type: "object",
    properties: { command: { type: "string" } },
    required: ["command"],
  });
  const { text } = streamText({
    model: open(experiment),
    prompt: `For ${experiment.mark}: use the bash tool to run \`pwd\``,
    tools: {
      bash: tool({
        description: "A shell.",
        inputSchema,
        execute: async ({ command }) => {
          commands.push(command);
          return "/somewhere";
        },
      }),
    },
    stopWhen: stepCountIs(3),
    // Else it refers to what it was answered by ids, which nobody keeps.
    providerOptions: { openai: { store: false } },
    maxOutputTokens: 500,
  });
  const answer = await text;
  const { providerRequests, differences } = await laboratory.end(experiment);

  expect(commands).toEqual(["pwd"]);
  expect(answer).toContain("/somewhere");
  expect([providerRequests, differences]).toEqual([2, []]);
});
