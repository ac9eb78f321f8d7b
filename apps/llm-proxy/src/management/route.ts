import type { z } from "zod";
import { ValidationError } from "./error-response.ts";
import { requireStorable } from "./storable-input.ts";
import type { TeamAdminRule } from "./team-admin.ts";
import { type KnownFields, refuseUnkeptFields } from "./unkept-fields.ts";

/** One call, as its route gets it. */
export interface RouteInput {
  /** The parsed JSON body; `{}` when there is none. */
  readonly body: unknown;
  readonly query: URLSearchParams;
  /** What stands in the place of each `{name}` of the path. */
  readonly names: PathNames;
}

type PathNames = Readonly<Record<string, string>>;

/** One management route: answers the body of its 200, or throws. */
export interface Route {
  readonly method: "GET" | "POST";
  /** `{name}` stands for one part that is not empty. */
  readonly path: string;
  /** What an admin of a team has to be allowed to call it by a key of his own. Default: it takes the master key alone. */
  readonly teamAdmin?: TeamAdminRule;
  handle(input: RouteInput): Promise<unknown>;
}

/**
 * What a path has in the place of each `{name}` of a pattern, decoded; undefined where it is another path. A pattern that ends in `/*` is
 * that of everything at and below what stands before.
 */
export function matchesPath(pattern: string, path: string): PathNames | undefined {
  const isPrefix = pattern.endsWith("/*");
  const wanted = (isPrefix ? pattern.slice(0, -2) : pattern).split("/");
  const parts = path.split("/");
  if (isPrefix ? parts.length < wanted.length : parts.length !== wanted.length) return undefined;
  const names: Record<string, string> = {};
  for (const [index, want] of wanted.entries()) {
    const part = parts[index] ?? "";
    if (!want.startsWith("{")) {
      if (want !== part) return undefined;
      continue;
    }
    if (part === "") return undefined;
    names[want.slice(1, -1)] = decoded(part);
  }
  return names;
}

/** What is no encoding stands for itself. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
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
