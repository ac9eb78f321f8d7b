import { z } from "zod";
import { normalizeDecimal } from "../money.ts";

/** Amounts that a caller sends: text, or a JSON number that is spelled out; at most 12 digits after the point. */
export const sentAmount = z
  .union([z.number().nonnegative().max(1e12), z.string().regex(/^\d{1,12}(\.\d{1,12})?$/, 'must be a decimal number such as "2.50"')])
  .transform((value) => normalizeDecimal(String(value)))
  // LiteLLM holds a budget as a JSON number and a DOUBLE, which keep 15 digits as they were written.
  .refine((text) => text.replace(".", "").replace(/^0+/, "").length <= 15, "must have at most 15 significant digits");
