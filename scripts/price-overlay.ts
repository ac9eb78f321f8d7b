import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";

/** packages/metering/src/pricing/overlay.yaml, checked. */

const OVERLAY_FILE = new URL("../packages/metering/src/pricing/overlay.yaml", import.meta.url);

/** USD, per million tokens or thousand uses. */
const decimal = z.string().regex(/^\d+(\.\d{1,6})?$/);
const factor = z.string().regex(/^\d+(\.\d+)?(\/[1-9]\d*)?$/);
const day = z.string().regex(/^\d{4}-\d{2}-\d{2}$/);
const id = z.string().regex(/^(anthropic|openai|gemini)\/[^/]+$/);
const rates = z.strictObject({
  input: decimal,
  cacheRead: decimal.optional(),
  cacheWrite5m: decimal.optional(),
  cacheWrite1h: decimal.optional(),
  output: decimal,
});
/** Without these no entry stands. */
const evidence = { page: z.string(), checked: day, why: z.string().min(1) };
const tokens = z.number().int().positive();

const schema = z.strictObject({
  pages: z.record(z.string(), z.url()),
  models: z.record(
    id,
    z.strictObject({
      ...evidence,
      periods: z
        .array(z.strictObject({ since: day.optional(), perMillion: rates, above: z.record(z.string().regex(/^\d+$/), rates).optional() }))
        .min(1),
      contextTokens: tokens,
    }),
  ),
  tierStarts: z.array(z.strictObject({ ...evidence, from: tokens, to: tokens })),
  modifiers: z.array(
    z.strictObject({
      ...evidence,
      kind: z.enum(["serviceTier", "speed", "geography"]),
      values: z.record(z.string(), factor),
      upToTokens: tokens.optional(),
      models: z.array(id).min(1),
    }),
  ),
  hosts: z.array(z.strictObject({ ...evidence, hosts: z.record(z.string(), factor), models: z.array(id).min(1) })),
  fees: z.array(
    z.strictObject({ ...evidence, fee: z.enum(["webSearch", "fileSearch"]), perThousand: decimal, models: z.array(id).min(1) }),
  ),
  outputLimits: z.array(
    z.strictObject({ ...evidence, maxOutputTokens: tokens, contextTokens: tokens.optional(), models: z.array(id).min(1) }),
  ),
  retirements: z.array(z.strictObject({ ...evidence, retiresOn: day, models: z.array(id).min(1) })),
});

export type PriceOverlay = z.infer<typeof schema>;
export type OverlayRates = z.infer<typeof rates>;

/** Throws on an entry that lacks its page, day or reason, names a page that is not listed, or says something unknown. */
export function readOverlay(text: string = readFileSync(OVERLAY_FILE, "utf8")): PriceOverlay {
  // YAML 1.2's core schema: a day stays text, a quoted rate too, so no float is made of one.
  const overlay = schema.parse(parse(text));
  for (const { page } of entriesOf(overlay)) {
    if (!Object.hasOwn(overlay.pages, page)) throw new Error(`overlay.yaml: the page "${page}" is not among its pages`);
  }
  return overlay;
}

function entriesOf(overlay: PriceOverlay): readonly { readonly page: string }[] {
  return [
    ...Object.values(overlay.models),
    ...overlay.tierStarts,
    ...overlay.modifiers,
    ...overlay.hosts,
    ...overlay.fees,
    ...overlay.outputLimits,
    ...overlay.retirements,
  ];
}
