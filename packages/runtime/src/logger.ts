import pino, { type Logger } from "pino";
import { redactSecrets } from "./redact-secrets.ts";

export type { Logger };

/** What is written to stderr at the end of this turn of the event loop. */
class PendingLines {
  #text = "";

  constructor() {
    process.on("exit", () => this.#write());
  }

  add(line: string): void {
    if (this.#text === "") setImmediate(() => this.#write());
    this.#text += line;
  }

  #write(): void {
    if (this.#text === "") return;
    const text = this.#text;
    this.#text = "";
    process.stderr.write(text);
  }
}

const stderrLines = new PendingLines();

/**
 * One JSON line per event on stderr; `event` is a stable name (`settle.failed`), the rest are facts. Secrets are cut out
 * of every line after it is serialized, so no field can carry one by accident. Prompts and bodies are never logged. Lines of one turn of the event
 * loop are written together, when it ends or the process exits: each write of its own holds up everybody.
 */
export function createLogger(name: string, level = "info"): Logger {
  const redacting = { write: (line: string) => stderrLines.add(redactSecrets(line)) };
  return pino({ name, level, base: { name, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, messageKey: "event" }, redacting);
}
