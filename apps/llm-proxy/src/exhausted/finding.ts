import { hash } from "node:crypto";
import type { CallerRow } from "@proliferate/access/keys";
import { type CountedLimit, METERS } from "@proliferate/access/limits";
import { z } from "zod";

/** What the store said of a key when it refused it because a limit was used up (`usedUpPart`). */
export interface Finding {
  /** As callers call it. */
  readonly model: string;
  /** What key and team were, by {@link stateOf}: of any other state it says nothing. */
  readonly callerState: string;
  /** Before the store read it, by the store's clock; whole milliseconds since 1970. */
  readonly storeMs: number;
  /** Those that can refuse, in their order, the used-up one last. Never empty. */
  readonly limits: readonly CountedLimit[];
}

/** So long a finding is believed after `storeMs`. Edits hold everywhere in less than a second, so it stays below. */
export const BELIEVED_MS = 900;

/** `storeMs` is cut to whole milliseconds. */
export const CUT_MS = 1;

/** Everything that authentication reads of a key and its team, as 64 hex digits: a key that was edited is another one. */
export function stateOf(caller: CallerRow): string {
  return hash("sha256", JSON.stringify(caller), "hex");
}

const decimal = z.string().regex(/^-?\d{1,40}(\.\d{1,40})?$/);
const moment = z.string().regex(/^(-?infinity|\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2})$/);
const text = z.string().max(512);

const limitSchema = z.strictObject({
  principal: z.strictObject({ kind: z.enum(["payer", "team", "user", "key"]), id: text }),
  // A meter that this version does not know is a finding of another one, which the store has to judge here.
  meter: z.enum(Object.keys(METERS)),
  window: z.string().max(64),
  model: text,
  amount: decimal,
  enforce: z.literal("refuse"),
  windowStart: moment,
  windowEnd: moment,
  secondsLeft: z.number().int().min(0).nullable(),
  used: decimal,
  reserved: decimal,
}) satisfies z.ZodType<CountedLimit>;

/** A finding as another process wrote it, perhaps of another version; strict. How many limits it has is bounded by its bytes. */
export const findingSchema: z.ZodType<Finding> = z.strictObject({
  model: text,
  callerState: z.string().regex(/^[0-9a-f]{64}$/),
  storeMs: z.number().int().min(0),
  limits: z.array(limitSchema).min(1),
});
