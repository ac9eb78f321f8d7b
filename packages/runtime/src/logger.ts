import pino, { type Logger } from "pino";

export type { Logger };

/** Anything that looks like a credential, wherever it stands in a logged value. */
const SECRET_PATTERN = /\b(?:sk-[A-Za-z0-9_-]{6,}|am_sk_[A-Za-z0-9_-]{6,}|Bearer\s+[A-Za-z0-9._~+/-]{8,}=*|postgres(?:ql)?:\/\/[^\s@]+@)/g;

/** Replaces keys, bearer tokens and database passwords by `[redacted]`. For text that goes to a log, a file or a caller. */
export function redactSecrets(text: string): string {
  return text.replace(SECRET_PATTERN, "[redacted]");
}

/**
 * One JSON line per event on stderr; `event` is a stable name (`settle.failed`), the rest are facts. Secrets are cut out
 * of every line after it is serialized, so no field can carry one by accident. Prompts and bodies are never logged.
 */
export function createLogger(name: string, level = "info"): Logger {
  const redacting = { write: (line: string) => void process.stderr.write(redactSecrets(line)) };
  return pino({ name, level, base: { name, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, messageKey: "event" }, redacting);
}
