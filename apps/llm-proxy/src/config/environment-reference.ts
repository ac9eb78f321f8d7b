import type { EnvironmentSource } from "@proliferate/shared/env";
import type { YamlCursor } from "./yaml-cursor.ts";

/** A value that may stand in the file or in the environment. */
interface Reference {
  /** Undefined if the variable is not set or empty. */
  readonly value: string | undefined;
  /** The variable's name; undefined if the value stands in the file. */
  readonly variable: string | undefined;
}

const PREFIX = "os.environ/";

/** LiteLLM's `os.environ/NAME`, or plain text; undefined if the setting is missing. Throws on a name that is no variable's. */
export function readReference(cursor: YamlCursor, environment: EnvironmentSource): Reference | undefined {
  const text = cursor.text()?.trim();
  if (text === undefined || text === "") return undefined;
  if (!text.startsWith(PREFIX)) return { value: text, variable: undefined };
  const variable = text.slice(PREFIX.length);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) throw cursor.error(`names no variable; write os.environ/NAME`);
  return referenceTo(variable, environment);
}

export function referenceTo(variable: string, environment: EnvironmentSource): Reference {
  return { value: environment[variable]?.trim() || undefined, variable };
}
