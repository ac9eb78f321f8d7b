import { AppError } from "@proliferate/shared/errors";

/** What a credential can open on the data plane. Health and `/` ask for none. */
export type CallerRoute = "answer" | "count_tokens" | "models";

/**
 * One kind of caller: what its credentials look like, and what they open. Behind authentication nothing asks for it: a caller is a
 * path of principals with policies and limits, whatever kind it is of. To add one, write such an object beside this file, and put it
 * into {@link CALLER_KINDS}; what logs hide is listed in `redact-secrets.ts` of `runtime`, and a test compares.
 */
export interface CallerKind {
  /** As `caller_kind` of `POST /key/generate` names it. */
  readonly name: string;
  /** Its credentials begin so, and those of no other kind do. */
  readonly prefix: string;
  readonly opens: readonly CallerRoute[];
  /** The ids of its users begin so, so that the sums of two kinds never mix; '' where any id will do. */
  readonly userPrefix: string;
}

/** A virtual key as LiteLLM has it: for a person, a session, or nobody in particular. */
const VIRTUAL_KEY: CallerKind = { name: "virtual_key", prefix: "sk-", opens: ["answer", "count_tokens", "models"], userPrefix: "" };

/** All kinds of callers. The first is the one that is meant where none is named. */
export const CALLER_KINDS: readonly [CallerKind, ...CallerKind[]] = [VIRTUAL_KEY];

/** The kind that a credential shows; undefined where it has the form of none. */
export function kindOfCredential(credential: string): CallerKind | undefined {
  return CALLER_KINDS.find(({ prefix }) => credential.startsWith(prefix));
}

/** The kind of that name; the first where there is none. Throws `invalid_request` for a name that nobody has. */
export function callerKind(name: string | null | undefined): CallerKind {
  if (name === null || name === undefined) return CALLER_KINDS[0];
  const kind = CALLER_KINDS.find((one) => one.name === name);
  if (kind) return kind;
  const names = CALLER_KINDS.map((one) => one.name).join(", ");
  throw new AppError("invalid_request", `caller_kind must be one of ${names}.`, { param: "caller_kind" });
}

/** Throws `route_not_allowed` where credentials of its kind do not open the route. A credential of no kind is nobody's, and is looked up in vain. */
export function requireOpens(credential: string, route: CallerRoute): void {
  const kind = kindOfCredential(credential);
  if (kind === undefined || kind.opens.includes(route)) return;
  throw new AppError("route_not_allowed", `A credential of the kind ${kind.name} does not open this route.`);
}

/** Throws `invalid_request` where a user's id does not show its kind. */
export function requireUserOf({ name, userPrefix }: CallerKind, userId: string | null | undefined): void {
  if (userPrefix === "" || userId?.startsWith(userPrefix)) return;
  throw new AppError("invalid_request", `user_id of a key of the kind ${name} must begin with "${userPrefix}".`, { param: "user_id" });
}
