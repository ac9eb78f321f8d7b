import { z } from "zod";
import { normalizeDecimal } from "../money.ts";
import { modelAliasesSchema, modelListSchema } from "./model-names.ts";

/**
 * LiteLLM's management API, as far as this product speaks it: the client in `llm-proxy/` sends and reads it, the engine in
 * `apps/llm-proxy` serves it. Names are LiteLLM's wire names. Objects are loose: LiteLLM sends about 55 fields for a key
 * and takes more than are listed here; what is not listed passes through untouched.
 *
 * Amounts are JSON numbers on this wire. A request schema turns them into decimal text, the shortest spelling of the
 * number that was sent (`0.1` → `"0.1"`), so nothing behind it computes with a float.
 */

/** `sk-` and at least 8 printable characters without a space. LiteLLM refuses a custom key without the prefix. */
export const virtualKeyPattern = /^sk-[\x21-\x7e]{8,}$/;

/**
 * 1..255 characters of `a-zA-Z0-9_-/.@`, a letter or digit at both ends; unique over all keys of the proxy. LiteLLM takes any text, and
 * these characters from 2 on where its own check of aliases is switched on.
 */
export const keyAliasPattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9_\-/.@]{0,253}[a-zA-Z0-9])?$/;

/** A duration: digits and one of `s m h d w mo`. Strict; LiteLLM itself reads a prefix, so that `30min` means 30 m there. */
export const durationPattern = /^[1-9]\d{0,8}(?:mo|[smhdw])$/;

const decimalText = (value: number | string): string => normalizeDecimal(String(value));

/** More than any provider could bill; beyond it an amount is a typing error, and a column may not hold it. */
const MOST_USD = 1e15;

/** USD, not negative: a JSON number, or decimal text as Python's parser also takes it. Output: decimal text. */
const usdAmount = z
  .union([z.number().nonnegative().max(MOST_USD), z.string().regex(/^\+?\d{1,15}(\.\d{1,30})?$/, "must be a decimal number of USD")])
  .transform(decimalText);

const positiveInteger = z.number().int().nonnegative();
const jsonObject = z.record(z.string(), z.unknown());

/** Labels of requests: they stand in `request_tags` of spend rows. */
export const tagsSchema = z.array(z.string().min(1).max(256)).max(64);

/** The budget of one model, by either pair of names that LiteLLM takes; written by the first. */
const modelBudget = z.union([
  z.strictObject({ budget_limit: usdAmount, time_period: z.string().regex(durationPattern) }),
  z
    .strictObject({ max_budget: usdAmount, budget_duration: z.string().regex(durationPattern) })
    .transform(({ max_budget, budget_duration }) => ({ budget_limit: max_budget, time_period: budget_duration })),
]);

/** What a key, a team and a budget can all limit. `null` means no limit, in a request and in an answer. */
export const sharedLimits = {
  max_budget: usdAmount.nullish().describe("USD that may be spent; raw provider cost, before any markup"),
  budget_duration: z.string().nullish().describe("window after which spend starts again at 0"),
  tpm_limit: positiveInteger.nullish().describe("tokens a minute"),
  rpm_limit: positiveInteger.nullish().describe("requests a minute"),
  max_parallel_requests: positiveInteger.max(2_147_483_647).nullish().describe("requests that run at one time"),
  model_max_budget: z.record(z.string(), modelBudget).nullish().describe("USD a model and window"),
  soft_budget: usdAmount.nullish().describe("USD after which somebody is told; it refuses nothing"),
};

/** What a key and a team can both be limited by. */
const limits = {
  ...sharedLimits,
  model_rpm_limit: z.record(z.string(), positiveInteger).nullish().describe("requests a minute, by model"),
  model_tpm_limit: z.record(z.string(), positiveInteger).nullish().describe("tokens a minute, by model"),
  models: modelListSchema
    .nullish()
    .describe("what may be called: names, patterns with *, all-proxy-models, all-team-models, no-default-models; empty or absent = all"),
  metadata: jsonObject.nullish(),
  tags: tagsSchema.nullish().describe("stand in request_tags of every spend row"),
  blocked: z.boolean().nullish(),
};

/** What only a key can have. */
const ofKey = {
  budget_id: z
    .string()
    .min(1)
    .max(255)
    .nullish()
    .describe("a budget that it shares with other keys; what the key sets itself goes before it"),
  allowed_routes: z
    .array(z.string().min(1).max(255))
    .max(100)
    .nullish()
    .describe("paths (/v1/messages), beginnings of paths (/v1/*) or groups (llm_api_routes); empty or absent = all of the data plane"),
  aliases: modelAliasesSchema.nullish().describe("the model that is served, by the name that callers of the key say"),
};

/** `POST /key/generate`. Sending the same `key` value again changes nothing. */
export const generateKeyRequestSchema = z.looseObject({
  ...limits,
  key: z.string().nullish().describe("chosen by the caller; made by the proxy when absent"),
  caller_kind: z.string().nullish().describe("our engine only: which kind of caller the key is for; absent = virtual_key"),
  ...ofKey,
  key_type: z
    .enum(["default", "llm_api", "management", "read_only"])
    .nullish()
    .describe("a word for allowed_routes: llm_api = llm_api_routes, read_only = info_routes"),
  key_alias: z.string().nullish(),
  duration: z.string().nullish().describe("life of the key from now; absent = never expires"),
  team_id: z.string().nullish(),
  user_id: z.string().nullish(),
});
/** Body of `POST /key/generate` as a caller writes it, before defaults. */
export type GenerateKeyRequest = z.input<typeof generateKeyRequestSchema>;

/**
 * A row of the key table as LiteLLM answers it. `token` is the SHA-256 of the key in hex; `spend` and `max_budget` are JSON
 * numbers; `expires` is ISO 8601 with or without an offset (UTC when without).
 */
export const keyObjectSchema = z.looseObject({
  token: z.string().nullish(),
  key_name: z.string().nullish(),
  key_alias: z.string().nullish(),
  expires: z.string().nullish(),
  user_id: z.string().nullish(),
  team_id: z.string().nullish(),
  models: z.array(z.string()).nullish(),
  metadata: jsonObject.nullish(),
  spend: z.number().nullish(),
  max_budget: z.number().nullish(),
  budget_duration: z.string().nullish(),
  budget_reset_at: z.string().nullish(),
  tpm_limit: z.number().nullish(),
  rpm_limit: z.number().nullish(),
  max_parallel_requests: z.number().nullish(),
  blocked: z.boolean().nullish(),
  created_at: z.string().nullish(),
  updated_at: z.string().nullish(),
});
/** {@link keyObjectSchema}, parsed; fields that we do not know are kept. */
export type KeyObject = z.infer<typeof keyObjectSchema>;

/** Answer of `POST /key/generate`: the key's row, flat, plus the key itself, which is never told again. */
export const generateKeyResponseSchema = keyObjectSchema.extend({ key: z.string().min(1), token_id: z.string().nullish() });
/** {@link generateKeyResponseSchema}, parsed. `key` is the secret itself. */
export type GenerateKeyResponse = z.infer<typeof generateKeyResponseSchema>;

/** `GET /key/info?key=`: the key or its hash; absent = the caller's key. */
export const keyInfoQuerySchema = z.looseObject({ key: z.string().optional() });

/** Answer of `GET /key/info`. `key` repeats what was asked; `info` is the row without its `token`. */
export const keyInfoResponseSchema = z.looseObject({ key: z.string(), info: keyObjectSchema });
/** {@link keyInfoResponseSchema}, parsed. */
export type KeyInfoResponse = z.infer<typeof keyInfoResponseSchema>;

/** `GET /key/list`: filters and paging; values are text because they stand in the query string. Pages start at 1. */
export const keyListQuerySchema = z.looseObject({
  page: z.coerce.number().int().min(1).default(1),
  size: z.coerce.number().int().min(1).max(100).default(10),
  team_id: z.string().optional(),
  user_id: z.string().optional(),
  key_alias: z.string().optional(),
  key_hash: z.string().optional(),
  return_full_object: z.stringbool().default(false),
});
/** {@link keyListQuerySchema}, parsed, with its defaults. */
export type KeyListQuery = z.output<typeof keyListQuerySchema>;

/** Answer of `GET /key/list`: hashes, or rows when `return_full_object=true`. */
export const keyListResponseSchema = z.looseObject({
  keys: z.array(z.union([z.string(), keyObjectSchema])),
  total_count: z.number().int().nullish(),
  current_page: z.number().int().nullish(),
  total_pages: z.number().int().nullish(),
});
/** {@link keyListResponseSchema}, parsed. */
export type KeyListResponse = z.infer<typeof keyListResponseSchema>;

/** `POST /key/update`. Fields that are absent stay; `null` clears a limit; `metadata` replaces the whole object. */
export const updateKeyRequestSchema = z.looseObject({
  ...limits,
  ...ofKey,
  key: z.string().min(1).describe("the key or its hash"),
  key_alias: z.string().nullish(),
  duration: z.string().nullish().describe("new life counted from now"),
  team_id: z.string().nullish(),
  user_id: z.string().nullish(),
});
/** Body of `POST /key/update` as a caller writes it. */
export type UpdateKeyRequest = z.input<typeof updateKeyRequestSchema>;

/** `POST /key/regenerate` and `/key/{key}/regenerate`: as `/key/update`, with a new secret. */
export const regenerateKeyRequestSchema = updateKeyRequestSchema.extend({
  key: z.string().nullish().describe("the key or its hash; the path may say it"),
  new_key: z.string().nullish().describe("chosen by the caller; made by the proxy when absent"),
  grace_period: z.string().nullish().describe("how long the former key may still be used; absent = not at all"),
});
/** Body of `POST /key/regenerate` as a caller writes it. */
export type RegenerateKeyRequest = z.input<typeof regenerateKeyRequestSchema>;

/** So many keys one call deletes: all of them are locked until it ends. */
const MOST_DELETED = 500;

/** `POST /key/delete`: keys (raw or hashed) or aliases, at least one of the two lists, 500 of each at most. */
export const deleteKeysRequestSchema = z
  .looseObject({ keys: z.array(z.string()).max(MOST_DELETED).nullish(), key_aliases: z.array(z.string()).max(MOST_DELETED).nullish() })
  .refine((body) => Array.isArray(body.keys) || Array.isArray(body.key_aliases), {
    message: "keys or key_aliases is required",
    path: ["keys"],
  });
/** Body of `POST /key/delete` as a caller writes it. */
export type DeleteKeysRequest = z.input<typeof deleteKeysRequestSchema>;

/** Answer of `POST /key/delete`. When nothing was found LiteLLM answers an error whose body says code `"404"`. */
export const deleteKeysResponseSchema = z.looseObject({ deleted_keys: z.array(z.unknown()).nullish() });
/** {@link deleteKeysResponseSchema}, parsed. */
export type DeleteKeysResponse = z.infer<typeof deleteKeysResponseSchema>;

/** `POST /key/block` and `/key/unblock`: the key or its hash. Answer: the key's row. In force for the next request. */
export const blockKeyRequestSchema = z.looseObject({ key: z.string().min(1) });
/** Body of `POST /key/block` and `/key/unblock` as a caller writes it. */
export type BlockKeyRequest = z.input<typeof blockKeyRequestSchema>;

/** `POST /team/new`. `team_id` is made by the proxy when absent; an id that exists is refused with 400. */
export const newTeamRequestSchema = z.looseObject({
  ...limits,
  model_aliases: modelAliasesSchema.nullish().describe("the model that is served, by the name that callers of the team say"),
  team_id: z.string().nullish(),
  team_alias: z.string().nullish(),
});
/** Body of `POST /team/new` as a caller writes it. */
export type NewTeamRequest = z.input<typeof newTeamRequestSchema>;

/** A row of the team table: the answer of `POST /team/new`, an entry of `GET /team/list`. */
export const teamObjectSchema = z.looseObject({
  team_id: z.string(),
  team_alias: z.string().nullish(),
  models: z.array(z.string()).nullish(),
  metadata: jsonObject.nullish(),
  spend: z.number().nullish(),
  max_budget: z.number().nullish(),
  budget_duration: z.string().nullish(),
  budget_reset_at: z.string().nullish(),
  tpm_limit: z.number().nullish(),
  rpm_limit: z.number().nullish(),
  blocked: z.boolean().nullish(),
  created_at: z.string().nullish(),
  updated_at: z.string().nullish(),
});
/** {@link teamObjectSchema}, parsed; fields that we do not know are kept. */
export type TeamObject = z.infer<typeof teamObjectSchema>;

/** `GET /team/info?team_id=` and its answer; `keys` are rows without `token`. */
export const teamInfoQuerySchema = z.looseObject({ team_id: z.string().min(1) });
/** Answer of `GET /team/info`. `keys` are rows without `token`. */
export const teamInfoResponseSchema = z.looseObject({
  team_id: z.string(),
  team_info: teamObjectSchema,
  keys: z.array(keyObjectSchema).nullish(),
  team_memberships: z.array(z.unknown()).nullish(),
});
/** {@link teamInfoResponseSchema}, parsed. */
export type TeamInfoResponse = z.infer<typeof teamInfoResponseSchema>;

/**
 * The error envelopes of the management API. `code` is a string even where it is a status; `param` is often the string
 * `"None"`. Validation and a few routes answer `detail` instead of `error`.
 */
export const managementErrorSchema = z.union([
  z.looseObject({
    error: z.looseObject({
      message: z.unknown(),
      type: z.string().nullish(),
      param: z.string().nullish(),
      code: z.union([z.string(), z.number()]).nullish(),
    }),
  }),
  z.looseObject({ detail: z.unknown() }),
]);
/** {@link managementErrorSchema}, parsed: one of LiteLLM's two envelopes. */
export type ManagementError = z.infer<typeof managementErrorSchema>;
