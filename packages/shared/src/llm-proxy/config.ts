import { z } from "zod";
import { durationPattern } from "../contracts/key-management.ts";
import { booleanFlag, type EnvironmentSource, httpUrl, parseEnvironment } from "../env.ts";
import { AppError } from "../errors/index.ts";

/** Life of a key when neither the call nor `LLM_PROXY_KEY_DURATION` nor `SANDBOX_TIMEOUT_SECONDS` says otherwise. Stated here and nowhere else. */
export const DEFAULT_KEY_DURATION = "24h";

/** A query or credentials would be pasted into every request and into every sandbox. */
const proxyUrl = httpUrl.refine(
  (url) => !/[?#]/.test(url) && !/^https?:\/\/[^/]*@/i.test(url),
  "must have no query, fragment, user name or password",
);

const keyDuration = z.string().regex(durationPattern, 'must be a number and one of s m h d w mo, such as "24h"');

/** Printable and without a space, or it could not stand in a header. */
const masterKey = z.string().regex(/^[\x21-\x7e]+$/, "must be printable ASCII without spaces");

/** The variables that this package reads; docs/env.md is checked against them. */
export const LLM_PROXY_ENVIRONMENT = {
  LLM_PROXY_URL: proxyUrl.optional().describe("LLM proxy as seen from here; setting it switches the proxy on"),
  LLM_PROXY_ADMIN_URL: proxyUrl.optional().describe("Management API of the proxy; LLM_PROXY_URL when unset"),
  LLM_PROXY_PUBLIC_URL: proxyUrl.optional().describe("The proxy as seen from a sandbox; LLM_PROXY_URL when unset"),
  LLM_PROXY_MASTER_KEY: masterKey.optional().describe("The proxy's LITELLM_MASTER_KEY; needed to mint keys"),
  LLM_PROXY_KEY_DURATION: keyDuration
    .optional()
    .describe(
      `Life of a key: a number and one of s m h d w mo; unset: as long as a sandbox (SANDBOX_TIMEOUT_SECONDS), else ${DEFAULT_KEY_DURATION}`,
    ),
  SANDBOX_TIMEOUT_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(31_536_000)
    .optional()
    .describe("Life of the sandboxes that the keys are for; a key lives as long where LLM_PROXY_KEY_DURATION is not set"),
  LLM_PROXY_REQUIRED: booleanFlag.default(false).describe("Refuse to work without LLM_PROXY_URL instead of going on without a proxy"),
} as const;

/** Where the proxy is and how keys are minted; every URL is already in its final form. */
export interface LLMProxyConfig {
  /** As configured, trailing slashes cut. Unset = the proxy is off. */
  readonly url?: string;
  /** Root of the management API: admin URL or URL, without `/v1`. */
  readonly adminUrl?: string;
  /** What clients get as base URL: public URL or URL, with exactly one `/v1`. */
  readonly baseUrl?: string;
  readonly masterKey?: string;
  /** Default {@link DEFAULT_KEY_DURATION}. */
  readonly keyDuration?: string;
}

/** The host is matched first, so that a host named `v1` stays. */
const withoutVersion = (url: string): string => url.replace(/^(https?:\/\/[^/]+)(.*?)(?:\/+v1)*\/*$/i, "$1$2");

/**
 * The one place where the `LLM_PROXY_*` variables are understood. Reads `source` when called, nothing at import.
 * Throws `env_invalid` naming every wrong variable, and `proxy_not_configured` when `LLM_PROXY_REQUIRED` is on and
 * `LLM_PROXY_URL` is not set.
 */
export function parseLLMProxyConfig(source: EnvironmentSource): LLMProxyConfig {
  const variables = parseEnvironment(LLM_PROXY_ENVIRONMENT, source);
  const url = variables.LLM_PROXY_URL;
  if (url === undefined && variables.LLM_PROXY_REQUIRED) {
    throw new AppError("proxy_not_configured", "LLM_PROXY_REQUIRED is on, but LLM_PROXY_URL is not set.");
  }
  const adminUrl = variables.LLM_PROXY_ADMIN_URL ?? url;
  const publicUrl = variables.LLM_PROXY_PUBLIC_URL ?? url;
  return {
    ...(url !== undefined && { url }),
    ...(adminUrl !== undefined && { adminUrl: withoutVersion(adminUrl) }),
    ...(publicUrl !== undefined && { baseUrl: `${withoutVersion(publicUrl)}/v1` }),
    ...(variables.LLM_PROXY_MASTER_KEY !== undefined && { masterKey: variables.LLM_PROXY_MASTER_KEY }),
    keyDuration:
      variables.LLM_PROXY_KEY_DURATION ??
      (variables.SANDBOX_TIMEOUT_SECONDS === undefined ? DEFAULT_KEY_DURATION : `${variables.SANDBOX_TIMEOUT_SECONDS}s`),
  };
}
