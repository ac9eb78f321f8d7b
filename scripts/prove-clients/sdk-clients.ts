import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { type LanguageModel, streamText } from "ai";
import Anthropic039 from "anthropic-sdk-0.39";
import Anthropic070 from "anthropic-sdk-0.70";
import OpenAI from "openai";
import OpenAI4 from "openai-4";
import OpenAI5 from "openai-5";
import OpenAI6 from "openai-6";
import type { Experiment } from "./laboratory.ts";

/** A library as it is installed by default: its own retries, its own time-outs. */
export interface SdkClient {
  readonly library: string;
  /** Which of it: its version, and the API that it speaks. */
  readonly name: string;
  /** A model of its dialect. */
  readonly model: string;
  /** Streams an answer; returns its text, or throws what the library throws. */
  ask(experiment: Experiment): Promise<string>;
}

const GPT = "gpt-5-mini";
const CLAUDE = "claude-haiku-4-5";
const MOST_TOKENS = 500;

/** Says what the experiment is known by. */
const promptOf = ({ mark }: Experiment): string => `Say hello to ${mark}.`;
const messagesOf = (experiment: Experiment): { role: "user"; content: string }[] => [{ role: "user", content: promptOf(experiment) }];

/** Majors differ in their types, and in nothing else that is called here. */
const asOpenAI = (Sdk: unknown): typeof OpenAI => Sdk as typeof OpenAI;
const asAnthropic = (Sdk: unknown): typeof Anthropic => Sdk as typeof Anthropic;

/** Chat completions and responses. */
function openaiClients(major: string, Sdk: typeof OpenAI): readonly SdkClient[] {
  const open = ({ key, baseUrl }: Experiment): OpenAI => new Sdk({ apiKey: key, baseURL: `${baseUrl}/v1` });
  return [
    {
      library: "openai",
      name: `${major} chat`,
      model: GPT,
      ask: async (experiment) => {
        let text = "";
        const { model } = experiment;
        const stream = await open(experiment).chat.completions.create({ model, messages: messagesOf(experiment), stream: true });
        for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
        return text;
      },
    },
    {
      library: "openai",
      name: `${major} responses`,
      model: GPT,
      ask: async (experiment) => {
        let text = "";
        const stream = await open(experiment).responses.create({ model: experiment.model, input: promptOf(experiment), stream: true });
        for await (const event of stream) {
          if (event.type === "response.output_text.delta") text += event.delta;
          // Some majors give it out as an event like any other: whoever calls them has to look.
          if (event.type === "error") throw Object.assign(new Error(event.message), { name: "event error" });
          if (event.type === "response.failed")
            throw Object.assign(new Error(event.response.error?.message), { name: "event response.failed" });
        }
        return text;
      },
    },
  ];
}

function anthropicClient(major: string, Sdk: typeof Anthropic): SdkClient {
  return {
    library: "@anthropic-ai/sdk",
    name: major,
    model: CLAUDE,
    ask: async (experiment) => {
      let text = "";
      const client = new Sdk({ apiKey: experiment.key, baseURL: experiment.baseUrl });
      const { model } = experiment;
      const stream = await client.messages.create({ model, max_tokens: MOST_TOKENS, messages: messagesOf(experiment), stream: true });
      for await (const event of stream)
        if (event.type === "content_block_delta" && event.delta.type === "text_delta") text += event.delta.text;
      return text;
    },
  };
}

function aiSdkClient(name: string, model: string, open: (experiment: Experiment) => LanguageModel): SdkClient {
  return {
    library: "ai",
    name: `6 with ${name}`,
    model,
    ask: async (experiment) => {
      let text = "";
      const { fullStream } = streamText({
        model: open(experiment),
        prompt: promptOf(experiment),
        maxOutputTokens: MOST_TOKENS,
        // It writes each error to the console otherwise.
        onError: () => undefined,
      });
      for await (const part of fullStream) {
        if (part.type === "error") throw part.error;
        if (part.type === "text-delta") text += part.text;
      }
      return text;
    },
  };
}

const settingsOf = ({ key, baseUrl }: Experiment): { apiKey: string; baseURL: string } => ({ apiKey: key, baseURL: `${baseUrl}/v1` });

/** Every library of the ordinary suite, in each of the APIs that it speaks. */
export const SDK_CLIENTS: readonly SdkClient[] = [
  ...openaiClients("4", asOpenAI(OpenAI4)),
  ...openaiClients("5", asOpenAI(OpenAI5)),
  ...openaiClients("6", asOpenAI(OpenAI6)),
  ...openaiClients("7", OpenAI),
  anthropicClient("0.39", asAnthropic(Anthropic039)),
  anthropicClient("0.70", asAnthropic(Anthropic070)),
  anthropicClient("1", Anthropic),
  // The same program on a model of the other API.
  { ...anthropicClient("1 on GPT", Anthropic), model: GPT },
  ...openaiClients("7", OpenAI).flatMap((client) =>
    client.name === "7 chat" ? [{ ...client, name: "7 chat on Claude", model: CLAUDE }] : [],
  ),
  aiSdkClient("openai", GPT, (experiment) => createOpenAI(settingsOf(experiment))(experiment.model)),
  aiSdkClient("openai.chat", GPT, (experiment) => createOpenAI(settingsOf(experiment)).chat(experiment.model)),
  aiSdkClient("openai-compatible", GPT, (experiment) =>
    createOpenAICompatible({ name: "gateway", ...settingsOf(experiment) })(experiment.model),
  ),
  aiSdkClient("anthropic", CLAUDE, (experiment) => createAnthropic(settingsOf(experiment))(experiment.model)),
];
