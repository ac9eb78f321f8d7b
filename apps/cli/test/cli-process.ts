import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const ENTRY = fileURLToPath(new URL("../src/main.ts", import.meta.url));
/** As scripts/billing has it: half the start of a process is compiling. */
const COMPILE_CACHE = fileURLToPath(new URL("../../../node_modules/.cache/node-compile", import.meta.url));

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * For tests only: the command as an operator starts it, in a process of its own, with these variables and no others that it
 * reads. `onOutput` is given all of its standard output so far, whenever there is more.
 */
export async function runCli(
  argv: readonly string[],
  environment: Readonly<Record<string, string>>,
  group: "billing" | "session" = "billing",
  onOutput?: (stdout: string) => void,
): Promise<CliResult> {
  const child = spawn(process.execPath, [ENTRY, group, ...argv], {
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    text.stdout += String(chunk);
    onOutput?.(text.stdout);
  });
  child.stderr.on("data", (chunk) => (text.stderr += String(chunk)));
  const status = await new Promise<number | null>((done) => child.once("close", done));
  return { status, ...text };
}
