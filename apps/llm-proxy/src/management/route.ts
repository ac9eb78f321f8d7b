import type { z } from "zod";
import { ValidationError } from "./error-response.ts";
import { requireStorable } from "./storable-input.ts";
import { type KnownFields, refuseUnkeptFields } from "./unkept-fields.ts";

interface RouteInput {
  /** The parsed JSON body; `{}` when there is none. */
  readonly body: unknown;
  readonly query: URLSearchParams;
}

/** One management route: answers the body of its 200, or throws. */
export interface Route {
  readonly method: "GET" | "POST";
  readonly path: string;
  handle(input: RouteInput): Promise<unknown>;
}

/** Throws {@link ValidationError}, and `invalid_request` for what cannot be stored. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  requireStorable(body);
  const result = schema.safeParse(body);
  if (!result.success) throw new ValidationError("body", result.error.issues);
  return result.data;
}

/** A body that sets limits: what would not be kept is refused as well. Throws as {@link parseBody}. */
export function parseLimits<Schema extends z.ZodType & KnownFields>(schema: Schema, body: unknown): z.output<Schema> {
  const parsed = parseBody(schema, body);
  refuseUnkeptFields(schema, body);
  return parsed;
}

/** Throws {@link ValidationError}, and `invalid_request` for what cannot be stored. Of a name that is given twice, the last value counts. */
export function parseQuery<Schema extends z.ZodType>(schema: Schema, query: URLSearchParams): z.output<Schema> {
  const values = Object.fromEntries(query);
  requireStorable(values);
  const result = schema.safeParse(values);
  if (!result.success) throw new ValidationError("query", result.error.issues);
  return result.data;
}
