import { z } from "zod";
import { AppError } from "./errors/index.ts";

/** What is read from the process environment; an empty string counts as unset, as people write `NAME=` to switch off. */
export type EnvironmentSource = Readonly<Record<string, string | undefined>>;

/** 1/true/yes/on and 0/false/no/off, in any case. Anything else is refused, so a typing error cannot switch a guard off. */
export const booleanFlag = z.string().transform((text, context) => {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  context.addIssue({ code: "custom", message: `must be true or false (or 1 or 0), not "${text}"` });
  return z.NEVER;
});

const PORT_RANGE = "must be a whole number from 0 to 65535";
/** A TCP port, 0..65535 (0 = any free one). */
export const portNumber = z.coerce.number(PORT_RANGE).int(PORT_RANGE).min(0, PORT_RANGE).max(65_535, PORT_RANGE);

/** An absolute http or https URL; trailing slashes are cut. */
export const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" })
  .transform((url) => url.replace(/\/+$/, ""));

/** A program and its first arguments: words separated by blanks or, where one has a blank in it, a JSON array of them. */
export const commandWords = z.string().transform((text, context): readonly string[] => {
  const words = text.trimStart().startsWith("[") ? wordsOfJson(text) : text.split(/\s+/).filter((word) => word !== "");
  if (words !== undefined && words.length > 0 && words[0] !== "") return words;
  context.addIssue({
    code: "custom",
    message: 'must be a program and its arguments, separated by blanks or as a JSON array such as ["/opt/my tools/opencode"]',
  });
  return z.NEVER;
});

function wordsOfJson(text: string): readonly string[] | undefined {
  try {
    return z.array(z.string()).parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Where a PostgreSQL server is. Other spellings are taken for a host name by the driver, and end in an error about that name. */
export const postgresUrl = z.string().regex(/^postgres(ql)?:\/\//, "must be a postgresql:// URL");

/**
 * Parses the environment once, at the edge of a process. Throws one `env_invalid` that names every wrong variable, never
 * its value. Each process states its variables in one object (`env.ts`), and `docs/env.md` is checked against those.
 */
export function parseEnvironment<Shape extends z.ZodRawShape>(shape: Shape, source: EnvironmentSource): z.output<z.ZodObject<Shape>> {
  const present = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== undefined && value.trim() !== ""));
  const result = z.object(shape).safeParse(present);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => {
    const name = issue.path.join(".");
    if (present[name] === undefined) return `${name} is not set`;
    // What is not a number was made one before it was looked at; nobody typed NaN.
    return `${name}: ${issue.message.endsWith("received NaN") ? "must be a number" : issue.message}`;
  });
  throw new AppError("env_invalid", `The environment is not usable: ${problems.join("; ")}.`, { details: { problems } });
}
