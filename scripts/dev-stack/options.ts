import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

export interface StackOptions {
  /** Exit after one pass of the main job. */
  readonly once: boolean;
  /** The last line of stdout is one JSON object. */
  readonly json: boolean;
  /** The real OpenCode makes the request. */
  readonly opencode: boolean;
  readonly help: boolean;
}

/** A file of its own, so that the shell shows it before anything is installed. */
export const USAGE = readFileSync(new URL("usage.txt", import.meta.url), "utf8");

/** Of the command line: nothing was begun. */
export class UsageError extends Error {}

/** Throws a `UsageError` that says which argument is wrong. */
export function parseStackOptions(argv: readonly string[]): StackOptions {
  const flag = { type: "boolean", default: false } as const;
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { once: flag, json: flag, opencode: flag, help: { ...flag, short: "h" } },
      strict: true,
    });
    return { once: values.once, json: values.json, opencode: values.opencode, help: values.help };
  } catch (error) {
    throw new UsageError(`${(error as Error).message.split(". ")[0]}. ./scripts/dev-start.sh --help lists what there is.`, {
      cause: error,
    });
  }
}
