import { timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { hashKey } from "@proliferate/access/keys";

/** Where a credential may stand, in the order in which it is looked for; LiteLLM's order for those it shares. */
const CREDENTIAL_HEADERS = ["x-litellm-api-key", "authorization", "api-key", "x-api-key", "x-goog-api-key"] as const;

/** Headers that carry a caller's credential; none of them ever goes upstream. */
export const CREDENTIAL_HEADER_NAMES: ReadonlySet<string> = new Set<string>([
  ...CREDENTIAL_HEADERS,
  "proxy-authorization",
  "cookie",
  "ocp-apim-subscription-key",
]);

/** The key of a request, without `Bearer`; undefined when it shows none. */
export function credentialOf(headers: IncomingHttpHeaders): string | undefined {
  for (const name of CREDENTIAL_HEADERS) {
    const value = headers[name];
    const credential = (Array.isArray(value) ? value[0] : value)?.replace(/^bearer(\s+|$)/i, "").trim();
    if (credential) return credential;
  }
  return undefined;
}

/** Compares in a time that tells nothing about where they differ, nor about their lengths. */
export function isSameSecret(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(hashKey(a)), Buffer.from(hashKey(b)));
}
