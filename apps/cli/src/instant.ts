import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";

const instantSchema = z.union([
  z.iso.date().transform((day) => new Date(`${day}T00:00:00Z`)),
  z.iso.datetime({ offset: true }).transform((text) => new Date(text)),
]);

/** A day (its midnight in UTC) or an instant with its zone. Throws `invalid_request` naming the option; 30 February is no day. */
export function parseInstant(option: string, text: string): Date {
  const result = instantSchema.safeParse(text);
  if (result.success) return result.data;
  throw new AppError(
    "invalid_request",
    `${option} "${text}" is neither a day such as 2026-11-01 nor an instant such as 2026-11-01T12:00:00Z.`,
    { param: option },
  );
}

/** `from` and `to` where they were given. Throws as {@link parseInstant} does. */
export function parseRange(options: { readonly from?: string; readonly to?: string }): { readonly from?: Date; readonly to?: Date } {
  return {
    ...(options.from === undefined ? {} : { from: parseInstant("--from", options.from) }),
    ...(options.to === undefined ? {} : { to: parseInstant("--to", options.to) }),
  };
}
