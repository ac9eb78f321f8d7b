import { gemini as geminiDialect } from "../dialects/gemini.ts";
import type { Provider } from "./provider.ts";

/** Google's Gemini API, by a key of AI Studio; Vertex is another one. */
export const gemini: Provider = {
  name: "gemini",
  apiBase: "https://generativelanguage.googleapis.com",
  apiBaseVariable: "GEMINI_API_BASE",
  apiKeyVariable: "GEMINI_API_KEY",
  dialects: [geminiDialect],
  credentialHeaders: (apiKey) => ({ "x-goog-api-key": apiKey }),
  defaultHeaders: {},
  // The last three: a mask of fields leaves out of the answer what it cost, and parameters of the route may name another model.
  accountHeaders: ["x-goog-user-project", "x-goog-fieldmask", "x-goog-field-mask", "x-goog-request-params"],
  answerHeaders: { names: ["x-gemini-service-tier", "server-timing"], beginnings: [], limitBeginnings: [] },
};
