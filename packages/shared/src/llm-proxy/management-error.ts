import { managementErrorSchema } from "../contracts/key-management.ts";

const maximumMessageLength = 300;
const redacted = "[redacted]";

/** Anything shaped like a key, a bearer token or a key's hash. */
const credentialPattern = /\bsk-[\w-]{6,}|\bBearer\s+[^\s"'\\]+|\b[0-9a-f]{64}\b/gi;

/**
 * Text of a server made fit for an error message: credentials cut out (those of this call in whatever form they are
 * spelled, and everything that is shaped like one), control characters flattened, then cut to 300 characters.
 */
export function safeServerText(text: string, credentials: readonly string[]): string {
  const spellings = credentials.flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]);
  const withoutKnown = spellings.reduce((remaining, spelling) => remaining.replaceAll(spelling, redacted), text);
  const flat = withoutKnown
    .replace(credentialPattern, redacted)
    .replace(/[\p{Cc}\s]+/gu, " ")
    .trim();
  return flat.length > maximumMessageLength ? `${flat.slice(0, maximumMessageLength)}…` : flat;
}

/** What the management API answered instead of a result. */
interface ManagementFailure {
  /** The status that is meant: the body's code where it is one (LiteLLM sends 404 inside other statuses), else HTTP's. */
  readonly status: number;
  /** The body's code; `"404"` for a key that is not there, while a path that is not there has a word or none. */
  readonly code: string | undefined;
  /** What the server said; not yet fit for a message. */
  readonly text: string;
}

/** Python prints a dict into the message: `{'error': 'Team not found'}` or `{'message': …}`. The text inside is meant. */
const stringifiedDetail = /^\{'(?:message|error)': (['"])(.*)\1\}$/s;

/** FastAPI's answers for a path or method that it does not have; they come from some server, not from this API. */
const foreignDetails = new Set(["Not Found", "Method Not Allowed"]);

interface ValidationIssue {
  readonly loc?: unknown;
  readonly msg?: unknown;
}

function describeDetail(detail: unknown): string | undefined {
  if (typeof detail === "string") return foreignDetails.has(detail) ? undefined : detail;
  if (Array.isArray(detail)) {
    // Only place and reason: an issue also repeats the input.
    return detail.map(({ loc, msg }: ValidationIssue) => `${Array.isArray(loc) ? loc.join(".") : "?"}: ${String(msg)}`).join("; ");
  }
  const { error, message } = (detail ?? {}) as { error?: unknown; message?: unknown };
  const text = error ?? message;
  return text === undefined ? undefined : String(text);
}

/** Reads an error body in any of LiteLLM's shapes; undefined when it is none of them, so some other server answered. */
export function readManagementFailure(httpStatus: number, body: unknown): ManagementFailure | undefined {
  const parsed = managementErrorSchema.safeParse(body);
  if (!parsed.success) return undefined;
  if (!("error" in parsed.data)) {
    const text = describeDetail(parsed.data.detail);
    return text === undefined ? undefined : { status: httpStatus, code: String(httpStatus), text };
  }
  const { message, code } = parsed.data.error as { message?: unknown; code?: string | number | null };
  const raw = typeof message === "string" ? message : JSON.stringify(message ?? "");
  const codeIsStatus = /^[45]\d\d$/.test(String(code));
  return { status: codeIsStatus ? Number(code) : httpStatus, code: code?.toString(), text: stringifiedDetail.exec(raw)?.[2] ?? raw };
}
