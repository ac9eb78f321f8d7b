export type { LiteLLMSpendApiOptions } from "./litellm-spend-api.ts";
export { MIRROR_SCHEMA } from "./spend-import-db.ts";
export { importLateRows, importSource } from "./spend-import.ts";
