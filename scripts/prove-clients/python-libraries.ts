import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Experiment } from "./laboratory.ts";
import { PYTHON_LIBRARIES } from "./programs.ts";
import type { SdkClient } from "./sdk-clients.ts";

const DRIVER = fileURLToPath(new URL("python-libraries.py", import.meta.url));

/** An error of a library, as Python names it. */
export class PythonError extends Error {}

/** The Python libraries, in one process of this Python, until `stop`. */
export function startPythonLibraries(python: string): { readonly clients: readonly SdkClient[]; stop(): void } {
  const child = spawn(python, [DRIVER], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", PYTHONDONTWRITEBYTECODE: "1" },
  });
  const waiting = new Map<number, PromiseWithResolvers<string>>();
  let count = 0;
  createInterface(child.stdout).on("line", (line) => {
    const { id, answer, error } = JSON.parse(line) as { readonly id: number; readonly answer?: string; readonly error?: string };
    if (answer === undefined) waiting.get(id)?.reject(new PythonError(error));
    else waiting.get(id)?.resolve(answer);
    waiting.delete(id);
  });
  child.once("close", (status) => {
    for (const { reject } of waiting.values()) reject(new Error(`Python ended with status ${status}`));
  });
  const ask = (api: string, { baseUrl, key, model, mark }: Experiment): Promise<string> => {
    count += 1;
    const ended = Promise.withResolvers<string>();
    waiting.set(count, ended);
    child.stdin.write(`${JSON.stringify({ id: count, api, base_url: baseUrl, key, model, prompt: `Say hello to ${mark}.` })}\n`);
    return ended.promise;
  };
  const client = (library: string, api: string, model: string): SdkClient => ({
    library,
    name: api,
    model,
    ask: (experiment) => ask(api, experiment),
  });
  const { openai, anthropic } = PYTHON_LIBRARIES;
  return {
    clients: [
      client(`openai ${openai} (Python)`, "chat", "gpt-5-mini"),
      client(`openai ${openai} (Python)`, "responses", "gpt-5-mini"),
      client(`anthropic ${anthropic} (Python)`, "messages", "claude-haiku-4-5"),
    ],
    stop: () => child.stdin.end(),
  };
}
