import type { AppError } from "@proliferate/shared/errors";

/** What a script may rely on; the table stands in docs/billing.md. */
export const EXIT = {
  /** Done, and where something was checked, it is right. */
  done: 0,
  /** Could not be done: no database, no sink, or an error of ours. */
  failed: 1,
  /** Unknown command or option, a value that cannot be, or a variable that is missing. Nothing was changed. */
  badInput: 2,
  /** Nothing has that id. */
  notFound: 3,
  /** The state of the thing forbids it; the message says what to do first. Nothing was changed. */
  refused: 4,
  /** Done, and the check found something that a person must look at. */
  problemFound: 5,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** By the HTTP status that the same error has at the gateway. */
export function exitStatusOf(error: AppError): ExitStatus {
  if (error.status === 404) return EXIT.notFound;
  if (error.status === 409) return EXIT.refused;
  if (error.status === 400 || error.code === "env_invalid") return EXIT.badInput;
  return EXIT.failed;
}
