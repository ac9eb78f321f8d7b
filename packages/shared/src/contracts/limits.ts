import { z } from "zod";
import { normalizeDecimal } from "../money.ts";
import { storableText } from "./storable.ts";

/** `total`, a calendar's window, in UTC or a time zone, or a duration: `day`, `month@Europe/Berlin`, `5h`. */
export const limitWindowPattern = /^(total|(minute|hour|day|week|month)(@[A-Za-z0-9_+/-]{1,64})?|[1-9][0-9]{0,5}[smhd])$/;

/** Whose limits are asked for. A key is named by itself or its hash. */
export const limitQuerySchema = z.strictObject({
  principal_kind: z.enum(["payer", "team", "user", "key", "tier"]).describe("tier: each user of it has the limit, and counts for itself"),
  principal_id: storableText.min(1).max(256),
});

/** Which limit is meant: a principal has one for each meter and window. */
export const limitNameSchema = limitQuerySchema.extend({
  meter: z.string().min(1).max(64),
  window: z
    .string()
    .regex(
      limitWindowPattern,
      "must be total, minute, hour, day, week or month (with a time zone: day@Europe/Berlin), or a duration such as 5h",
    ),
  model: storableText.max(256).default("").describe("the model that it is about, as callers call it; absent = all"),
});

/** `POST /limit/set` of our engine's management. `amount` is in the meter's unit: USD, requests, tokens. */
export const setLimitRequestSchema = limitNameSchema.extend({
  amount: z
    .union([z.number().nonnegative().max(1e15), z.string().regex(/^\d{1,15}(\.\d{1,12})?$/, "must be a decimal number")])
    .transform((value) => normalizeDecimal(String(value))),
  enforce: z.enum(["refuse", "count"]).default("refuse").describe("count: what is used is counted, and nobody is refused"),
});
/** `POST /tier/assign`: users, by what stands on their keys as `user_id`, and their tier from now on; null = none. */
export const assignTierRequestSchema = z.strictObject({
  user_ids: z.array(storableText.min(1).max(256)).min(1).max(1_000),
  tier: storableText.min(1).max(256).nullable(),
});

/** `GET /tier/of`. */
export const tierQuerySchema = z.strictObject({ user_id: storableText.min(1).max(256) });

/** Body of `POST /limit/set` as a caller writes it. */
export type SetLimitRequest = z.input<typeof setLimitRequestSchema>;
