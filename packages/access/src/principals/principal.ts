/**
 * Whoever a request is made for, at four levels. A request is made by a key, for a user, of a team, and a payer is billed for it:
 *
 *     payer → team → user → key
 *
 * - `key`: the credential. Every long-lived credential is a row of the one key table, so its id is the SHA-256 of its
 *   first secret; a key that is regenerated keeps it.
 * - `user`: the person, session or machine that holds it; two keys of one user share what holds for the user.
 * - `team`: whoever holds the shared cap; LiteLLM's `team_id`.
 * - `payer`: the organization that is billed; the team itself, unless `payers` says otherwise.
 *
 * Limits and policies may stand at each level, and all of the path must allow. Nobody behind authentication asks what kind of product
 * a caller came from: it is a path, its policies and its limits.
 */
export type PrincipalKind = "payer" | "team" | "user" | "key";

export interface Principal {
  readonly kind: PrincipalKind;
  readonly id: string;
}

/** Under whose name a limit is set: a principal, or a tier, whose limits each of its users has and counts for itself. */
export interface LimitOwner {
  readonly kind: PrincipalKind | "tier";
  readonly id: string;
}
