import { expect, test } from "vitest";
import { anthropic } from "../providers/anthropic.ts";
import { openai } from "../providers/openai.ts";
import { headersForCaller, headersForProvider } from "./headers.ts";

test("no credential, no hop-by-hop header and nothing about the caller's connection goes upstream", () => {
  const sent = headersForProvider(
    {
      "host": "gateway",
      "connection": "keep-alive, x-hop",
      "x-hop": "1",
      "keep-alive": "5",
      "te": "trailers",
      "transfer-encoding": "chunked",
      "content-length": "5",
      "expect": "100-continue",
      "authorization": "Bearer sk-a",
      "x-api-key": "sk-b",
      "api-key": "sk-c",
      "x-litellm-api-key": "sk-d",
      "cookie": "s=1",
      "proxy-authorization": "Basic x",
      "x-goog-api-key": "k",
      "x-forwarded-for": "10.0.0.1",
      "forwarded": "for=10.0.0.1",
      "x-litellm-tags": "t",
      "openai-organization": "org-x",
      "accept-encoding": "gzip",
      "upgrade": "h2c",
      "x-http-method-override": "GET",
      "x-original-url": "/v1/files",
    },
    anthropic,
    "provider-key",
  );

  expect(sent).toEqual({
    "content-type": "application/json",
    "accept-encoding": "identity",
    "anthropic-version": "2023-06-01",
    "x-api-key": "provider-key",
  });
});

test("review 1: the provider reads the body as what it was judged as, whatever charset or encoding the caller names", () => {
  for (const contentType of ["application/json; charset=utf-7", "application/x-www-form-urlencoded", undefined])
    expect(
      headersForProvider({ ...(contentType && { "content-type": contentType }), "content-encoding": "identity" }, openai, "k"),
    ).toEqual({ "content-type": "application/json", "accept-encoding": "identity", "authorization": "Bearer k" });
});

test("open lists pass: anthropic-* and headers nobody knows", () => {
  const sent = headersForProvider(
    { "anthropic-beta": "a,b", "anthropic-version": "2026-10-21", "x-new": ["1", "2"], "user-agent": "opencode/1" },
    openai,
    "provider-key",
  );

  expect(sent).toEqual({
    "anthropic-beta": "a,b",
    "anthropic-version": "2026-10-21",
    "x-new": "1, 2",
    "user-agent": "opencode/1",
    "content-type": "application/json",
    "accept-encoding": "identity",
    "authorization": "Bearer provider-key",
  });
});

test("the provider's request id comes back under another name, its cookies do not", () => {
  const sent = headersForCaller({
    "request-id": "req_1",
    "set-cookie": ["a=1"],
    "content-length": "5",
    "connection": "close",
    "retry-after": "3",
    "content-type": "application/json",
  });

  expect(sent).toEqual({ "llm_provider-request-id": "req_1", "retry-after": "3", "content-type": "application/json" });
});

test("hostile 15: what a provider says of our account, or to the caller's program, does not come back; what it says of the answer does", () => {
  const sent = headersForCaller({
    "openai-organization": "org-secret",
    "openai-project": "proj_secret",
    "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
    "authorization": "Bearer sk-provider",
    "x-api-key": "sk-provider",
    "www-authenticate": "Bearer",
    "clear-site-data": "*",
    "refresh": "0;url=//evil",
    "location": "//evil",
    "via": "1.1 cloud",
    "server": "cloudflare",
    "cf-ray": "1",
    "x-new-tomorrow": "org-secret",
    "anthropic-ratelimit-tokens-remaining": "9",
    "x-ratelimit-remaining-tokens": "8",
    "openai-processing-ms": "5",
    "content-type": "text/event-stream; charset=utf-8",
  });

  expect(sent).toEqual({
    "anthropic-ratelimit-tokens-remaining": "9",
    "x-ratelimit-remaining-tokens": "8",
    "openai-processing-ms": "5",
    "content-type": "text/event-stream; charset=utf-8",
  });
});

test("what is left of our account's limits is nothing to a caller that has limits here", () => {
  const sent = headersForCaller(
    { "anthropic-ratelimit-tokens-remaining": "9", "x-ratelimit-remaining-tokens": "8", "anthropic-fast-tokens": "1" },
    { hasLimits: true },
  );

  expect(sent).toEqual({ "anthropic-fast-tokens": "1" });
});
