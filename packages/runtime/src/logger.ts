import pino, { type Logger } from "pino";
import { redactSecrets } from "./redact-secrets.ts";

export type { Logger };

/**
 * One JSON line per event on stderr; `event` is a stable name (`settle.failed`), the rest are facts. Secrets are cut out
 * of every line after it is serialized, so no field can carry one by accident. Prompts and bodies are never logged.
 */
export function createLogger(name: string, level = "info"): Logger {
  const redacting = { write: (line: string) => void process.stderr.write(redactSecrets(line)) };
  return pino({ name, level, base: { name, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, messageKey: "event" }, redacting);
}
