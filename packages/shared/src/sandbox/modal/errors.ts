import { AppError, type ErrorCode, isAppError } from "../../errors/index.ts";
import { DeadlineExceeded } from "../contract/deadline.ts";

/** gRPC statuses by number, as the SDK's errors carry them. */
const statusNames: Readonly<Record<number, string>> = {
  1: "CANCELLED",
  2: "UNKNOWN",
  3: "INVALID_ARGUMENT",
  4: "DEADLINE_EXCEEDED",
  5: "NOT_FOUND",
  6: "ALREADY_EXISTS",
  7: "PERMISSION_DENIED",
  8: "RESOURCE_EXHAUSTED",
  9: "FAILED_PRECONDITION",
  10: "ABORTED",
  11: "OUT_OF_RANGE",
  12: "UNIMPLEMENTED",
  13: "INTERNAL",
  14: "UNAVAILABLE",
  15: "DATA_LOSS",
  16: "UNAUTHENTICATED",
};

/** What the SDK turned into classes of its own; told by name, so that this file loads without it. */
const statusOfClass: Readonly<Record<string, string>> = {
  NotFoundError: "NOT_FOUND",
  AlreadyExistsError: "ALREADY_EXISTS",
  ConflictError: "FAILED_PRECONDITION",
  InvalidError: "INVALID_ARGUMENT",
  ResourceExhaustedError: "RESOURCE_EXHAUSTED",
  TimeoutError: "DEADLINE_EXCEEDED",
  SandboxTimeoutError: "DEADLINE_EXCEEDED",
  SandboxFilesystemNotFoundError: "FILE_NOT_FOUND",
  SandboxFilesystemIsADirectoryError: "FILE_NOT_FOUND",
};

/** The status behind an error of the SDK, or `UNKNOWN`. */
export function modalStatus(error: unknown): string {
  if (error instanceof DeadlineExceeded) return "DEADLINE_EXCEEDED";
  if (!(error instanceof Error)) return "UNKNOWN";
  const { code } = error as { code?: unknown };
  return statusOfClass[error.name] ?? (typeof code === "number" ? statusNames[code] : undefined) ?? "UNKNOWN";
}

/** How a failure of Modal's becomes an error of ours. */
interface ModalErrorContext {
  /** What was being done, as the start of a sentence: "The sandbox sb-1 could not be ended". */
  readonly failed: string;
  /** For every failure that has no code of its own. */
  readonly otherwise: ErrorCode;
  /** For NOT_FOUND. Default `sandbox_not_found`. */
  readonly notFound?: ErrorCode;
  /** Texts that must not stand in a message, whoever put them there: values of the environment. */
  readonly secrets?: readonly string[];
}

/**
 * An error of the SDK as ours, with its status and at most 200 characters of its text. The original is not kept as the
 * cause: it may hold the request. An `AppError` is returned as it is.
 */
export function modalError(
  error: unknown,
  { failed, otherwise, notFound = "sandbox_not_found", secrets = [] }: ModalErrorContext,
): AppError {
  if (isAppError(error)) return error;
  const status = modalStatus(error);
  const text = detailOf(error, secrets);
  return new AppError(codeOf(status, otherwise, notFound), `${failed}: Modal answered ${status}${text && ` (${text})`}.`, {
    details: { status },
  });
}

function codeOf(status: string, otherwise: ErrorCode, notFound: ErrorCode): ErrorCode {
  switch (status) {
    case "UNAUTHENTICATED":
    case "PERMISSION_DENIED":
      return "sandbox_provider_unauthorized";
    case "NOT_FOUND":
      return notFound;
    case "FILE_NOT_FOUND":
      return "sandbox_file_not_found";
    case "ALREADY_EXISTS":
      return "sandbox_exists";
    case "RESOURCE_EXHAUSTED":
    case "UNAVAILABLE":
      return "sandbox_provider_unavailable";
    case "INVALID_ARGUMENT":
    case "UNIMPLEMENTED":
      return "sandbox_refused";
    default:
      return otherwise;
  }
}

function detailOf(error: unknown, secrets: readonly string[]): string {
  const { details, message } = error as { details?: unknown; message?: unknown };
  // What the SDK's file operations say of every failure, which names nobody who can help.
  if (typeof message === "string" && message.startsWith("An unexpected error occurred")) return "its SDK says no more";
  let text = typeof details === "string" && details !== "" ? details : String(message ?? "");
  // Short values ("true", "1") are no secrets, and would tear the text apart.
  for (const secret of secrets) if (secret.length >= 8) text = text.replaceAll(secret, "…");
  return text.replaceAll(/\s+/g, " ").trim().slice(0, 200).replace(/\.$/, "");
}
