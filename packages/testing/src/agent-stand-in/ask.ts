import { appendFile } from "node:fs/promises";
import { join } from "node:path";

/** What became of one call, a line of JSON in {@link ASKED_PATH}. */
interface Asked {
  /** Of the answer; 0 when the connection broke. */
  readonly status: number;
  /** Of the message; only of one whose end was seen. */
  readonly id?: string;
}

/** Below the agent's home directory. */
const ASKED_PATH = "asked.jsonl";

/**
 * Calls the model with what the sandbox was given, one call after the other, every second one streamed, and notes each. Ends
 * after `count` calls, or at the first that is refused: a real agent stops there, too.
 */
export async function askModel(count: number, environment: Readonly<Record<string, string | undefined>>): Promise<void> {
  const path = join(environment["HOME"] ?? ".", ASKED_PATH);
  for (let call = 0; call < count; call += 1) {
    const asked = await askOnce(call % 2 === 1, environment).catch((): Asked => ({ status: 0 }));
    await appendFile(path, `${JSON.stringify(asked)}\n`);
    if (asked.status !== 200) return;
  }
}

async function askOnce(stream: boolean, environment: Readonly<Record<string, string | undefined>>): Promise<Asked> {
  const response = await fetch(`${environment["ANTHROPIC_BASE_URL"]}/messages`, {
    method: "POST",
    headers: { "x-api-key": environment["ANTHROPIC_API_KEY"] ?? "", "anthropic-version": "2023-06-01", "content-type": "application/json" },
    body: JSON.stringify({ model: "claude-haiku-4-5", max_tokens: 100, stream, messages: [{ role: "user", content: "Go on." }] }),
  });
  const text = await response.text();
  const id = /"id":\s*"(msg_\w+)"/.exec(text)?.[1];
  const isWhole = !stream || text.includes("message_stop");
  return { status: response.status, ...(response.status === 200 && isWhole && id !== undefined && { id }) };
}
