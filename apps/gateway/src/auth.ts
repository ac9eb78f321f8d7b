import { createHash, timingSafeEqual } from "node:crypto";
import { AppError } from "@proliferate/shared/errors";
import type { MiddlewareHandler } from "hono";

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/**
 * Lets a request pass that carries one of the tokens as `Authorization: Bearer`; throws `unauthorized` otherwise. Compares
 * digests of equal length and looks at every token, so the time taken says nothing about them.
 */
export function requireBearerToken(tokens: readonly string[]): MiddlewareHandler {
  const accepted = tokens.map(digest);
  return async (context, next) => {
    const sent = /^Bearer +(\S+) *$/i.exec(context.req.header("authorization") ?? "")?.[1];
    if (sent === undefined) throw new AppError("unauthorized", "The request has no bearer token.");
    const sentDigest = digest(sent);
    const matches = accepted.filter((token) => timingSafeEqual(token, sentDigest));
    if (matches.length === 0) throw new AppError("unauthorized", "The bearer token is not one of this gateway's.");
    await next();
  };
}
