import { openaiChat } from "../dialects/openai-chat.ts";
import { openaiEmbeddings } from "../dialects/openai-embeddings.ts";
import { openaiResponses } from "../dialects/openai-responses.ts";
import { bearer, type Provider } from "./provider.ts";

/** OpenAI's own API, and by `api_base` any server that is compatible with it. */
export const openai: Provider = {
  name: "openai",
  apiBase: "https://api.openai.com",
  apiBaseVariable: "OPENAI_API_BASE",
  apiKeyVariable: "OPENAI_API_KEY",
  // Its newer models take tools and thoughts together in Responses alone.
  dialects: [openaiResponses, openaiChat, openaiEmbeddings],
  compatibleDialects: [openaiChat, openaiResponses, openaiEmbeddings],
  credentialHeaders: bearer,
  defaultHeaders: {},
  accountHeaders: ["openai-organization", "openai-project"],
  answerHeaders: { names: ["openai-model", "openai-processing-ms", "openai-version"], beginnings: [], limitBeginnings: ["x-ratelimit-"] },
};
