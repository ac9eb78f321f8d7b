import type { IncomingMessage } from "node:http";
import type { DatabaseClient } from "@proliferate/db";
import { requireUsable } from "@proliferate/access/requests";
import { type CallerRow, findCaller, hashKey } from "@proliferate/access/keys";
import { type CallerRoute, requireOpens, requireRouteAllowed } from "@proliferate/access/principals";
import { AppError } from "@proliferate/shared/errors";
import type { LimitMemory } from "../exhausted/limit-memory.ts";
import type { Grace } from "../grace/grace.ts";
import { credentialOf, isSameSecret } from "../http/credential.ts";
import { openableRoute } from "./openable-routes.ts";

/**
 * Who is calling, before the body is read. Throws `missing_api_key`, `invalid_api_key`, `blocked_api_key`,
 * `expired_api_key`, `team_not_found`, `route_not_allowed`. Nothing is cached: a key that was revoked is refused at once. Only while the store
 * is away, and where `grace` says so, a key is what it was when it was seen last.
 */
export async function authenticate(
  deps: {
    readonly db: DatabaseClient;
    readonly masterKey: string;
    readonly grace: Grace | undefined;
    readonly limitMemory: Pick<LimitMemory, "lookAhead"> | undefined;
  },
  { headers, url }: Pick<IncomingMessage, "headers" | "url">,
  route: CallerRoute,
): Promise<CallerRow> {
  const credential = credentialOf(headers);
  if (credential === undefined) throw new AppError("missing_api_key", "The request shows no API key.");
  if (isSameSecret(credential, deps.masterKey)) {
    // It has no budget and no owner, so nothing it did could be billed.
    throw new AppError(
      "invalid_api_key",
      "The master key cannot call models; mint a virtual key with POST /key/generate on the management port.",
    );
  }
  requireOpens(credential, route);
  const keyHash = hashKey(credential);
  if (route === "answer") deps.limitMemory?.lookAhead(keyHash);
  const caller = requireUsable(await (deps.grace ? deps.grace.findCaller(keyHash) : findCaller(deps.db, keyHash)));
  requireRouteAllowed(caller, openableRoute(url ?? "/"));
  return caller;
}
