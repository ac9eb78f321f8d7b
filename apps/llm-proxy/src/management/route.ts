import type { z } from "zod";
import { ValidationError } from "./error-response.ts";

export interface RouteInput {
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

/** Throws {@link ValidationError}. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const result = schema.safeParse(body);
  if (!result.success) throw new ValidationError("body", result.error.issues);
  return result.data;
}

/** Throws {@link ValidationError}. Of a name that is given twice, the last value counts. */
export function parseQuery<Schema extends z.ZodType>(schema: Schema, query: URLSearchParams): z.output<Schema> {
  const result = schema.safeParse(Object.fromEntries(query));
  if (!result.success) throw new ValidationError("query", result.error.issues);
  return result.data;
}
