import { runCommandLine } from "../src/command-line.ts";
import type { CliResult } from "./cli-process.ts";

/** For tests only: a billing command in this process, with these variables and no others. */
export async function runInProcess(argv: readonly string[], environment: Readonly<Record<string, string>>): Promise<CliResult> {
  const text = { stdout: "", stderr: "" };
  const status = await runCommandLine(["billing", ...argv], {
    environment,
    write: async (chunk) => void (text.stdout += chunk),
    writeError: (chunk) => void (text.stderr += chunk),
  });
  return { status, ...text };
}
