import { crc32 } from "node:zlib";
import type { AttemptOutcome, SpooledAttempt } from "@proliferate/access/requests";
import { z } from "zod";
import { storedFamily } from "../dialects/dialect.ts";
import { DIALECTS } from "../providers/spoken-dialects.ts";

/** One line of a spool: a request that was admitted without the store, with its outcome once that is known. */
export interface SpoolEntry {
  readonly attempt: SpooledAttempt;
  /** Undefined while its answer runs. */
  readonly outcome: AttemptOutcome | undefined;
}

/** What the provider said of its usage is kept for pricing a row anew; above this it is left out, as it is of any other row. */
const MOST_RAW_BYTES = 16 * 1024;
/** Another version's lines may say what this one does not know; it leaves them alone. */
const VERSION = 1;

/** An exact decimal, of any number of digits that a price can lead to. */
const amount = z.string().regex(/^\d{1,40}(\.\d{1,40})?$/);
/** Columns of an attempt, as this version writes them. */
const attemptSchema = z.strictObject({
  attempt_id: z.uuid(),
  instance_id: z.int(),
  key_hash: z.string(),
  team_id: z.string().nullable(),
  user_id: z.string().nullable(),
  key_alias: z.string().nullable(),
  dialect: z.custom<ReturnType<typeof storedFamily>>((value) => DIALECTS.some((dialect) => storedFamily(dialect) === value)),
  call_type: z.string(),
  model_group: z.string(),
  model: z.string(),
  provider: z.string(),
  api_base: z.string(),
  price_id: z.string(),
  end_user: z.string().nullable(),
  client_session_id: z.string().nullable(),
  requester_ip_address: z.string().nullable(),
  reserved_usd: amount,
  reservations: z
    .array(z.strictObject({ kind: z.string(), id: z.string(), meter: z.string(), window: z.string(), model: z.string(), amount }))
    .nullable(),
  estimated_input_tokens: z.int(),
  max_output_tokens: z.int().nullable(),
  hidden_tokens_per_second: z.int(),
  requested_model: z.string().nullable(),
  request_tags: z.array(z.string()).nullable(),
  started_at: z.coerce.date(),
});
const usage = z.record(z.string(), z.number());
const parts = z.array(
  z.looseObject({
    model: z.string().optional(),
    usage,
    modifiers: z.record(z.string(), z.string()),
    waived: z.literal("refusal").optional(),
  }),
);
const outcomeSchema = z.looseObject({
  report: z.looseObject({
    parts: parts.min(1),
    otherwise: parts.optional(),
    uses: z.record(z.string(), z.number()),
    unknown: z.array(z.string()),
    raw: z.record(z.string(), z.unknown()).optional(),
  }),
  cost: z.looseObject({ totalUsd: amount, inputUsd: amount, outputUsd: amount, toolUsd: amount }),
  status: z.enum(["success", "failure"]),
  estimated: z.boolean(),
  recovered: z.boolean(),
  providerResponseId: z.string().nullable(),
  firstByteAt: z.coerce.date().nullable(),
  endedAt: z.coerce.date(),
});
const entrySchema = z.strictObject({ version: z.literal(VERSION), attempt: attemptSchema, outcome: outcomeSchema.optional() });

/** The line of an entry, its end of line included; it begins with a checksum of the rest. No key and no word of the request is in it. */
export function lineOf({ attempt, outcome }: SpoolEntry): string {
  const text = JSON.stringify({ version: VERSION, attempt, ...(outcome && { outcome: bounded(outcome) }) });
  return `${checksumOf(text)} ${text}\n`;
}

/** The entry of a line; undefined where the line is torn, damaged, or of another version. Never throws. */
export function entryOf(line: string): SpoolEntry | undefined {
  const text = line.slice(9);
  if (line.slice(0, 9) !== `${checksumOf(text)} `) return undefined;
  try {
    const { attempt, outcome } = entrySchema.parse(JSON.parse(text));
    return { attempt, outcome: outcome as unknown as AttemptOutcome | undefined };
  } catch {
    return undefined;
  }
}

function checksumOf(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

function bounded(outcome: AttemptOutcome): AttemptOutcome {
  const { raw } = outcome.report;
  if (raw === undefined || JSON.stringify(raw).length <= MOST_RAW_BYTES) return outcome;
  return { ...outcome, report: { ...outcome.report, raw: undefined } };
}
