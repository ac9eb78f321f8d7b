import fc from "fast-check";
import { expect, test } from "vitest";
import { redactSecrets } from "./redact-secrets.ts";

const letters = (alphabet: string, min: number, max = 48) =>
  fc.array(fc.constantFrom(...alphabet), { minLength: min, maxLength: max }).map((signs) => signs.join(""));
const ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL_SAFE = `${ALNUM}_-`;

/** Each credential of the product: what it looks like, and the part of it that must never be seen. */
const FORMS: Readonly<Record<string, (secret: string) => string>> = {
  "virtual key": (secret) => `sk-${secret}`,
  "OpenAI project key": (secret) => `sk-proj-${secret}`,
  "Anthropic key": (secret) => `sk-ant-api03-${secret}`,
  "service token": (secret) => `gwt_${secret}`,
  "hub token": (secret) => `hbk_${secret}`,
  "Autumn key": (secret) => `am_sk_live_${secret}`,
  "Stripe key": (secret) => `sk_live_${secret}`,
  "Stripe test key": (secret) => `sk_test_${secret}`,
  "Stripe restricted key": (secret) => `rk_live_${secret}`,
  "webhook secret": (secret) => `whsec_${secret}`,
  "Modal token": (secret) => `ak-${secret}`,
  "Modal secret": (secret) => `as-${secret}`,
  "Google key": (secret) => `AIza${secret}`,
  "GitHub token": (secret) => `ghp_${secret}`,
  "GitHub app token": (secret) => `ghs_${secret}`,
  "GitHub fine-grained token": (secret) => `github_pat_${secret}`,
  "GitLab token": (secret) => `glpat-${secret}`,
  "bearer token": (secret) => `Bearer ${secret}`,
  "basic authentication": (secret) => `authorization: basic ${secret}`,
  "PostgreSQL URL": (secret) => `postgresql://app:${secret}@db:5432/app`,
  "PostgreSQL URL with signs in its password": (secret) => `postgres://app:${secret}/p@${secret}@db/app`,
  "Redis URL": (secret) => `redis://:${secret}@cache:6379`,
  "clone URL": (secret) => `https://x-access-token:${secret}@github.com/a/b.git`,
  "clone URL with a token alone": (secret) => `https://${secret}@github.com/a/b.git`,
  "variable": (secret) => `GATEWAY_API_TOKEN=${secret}`,
  "header of Anthropic": (secret) => `x-api-key: ${secret}`,
  "JSON field": (secret) => JSON.stringify({ client_secret: secret }),
  "query parameter": (secret) => `https://host/v1beta/models?token=${secret}&alt=sse`,
};

/** Where it may stand. */
const CONTEXTS: readonly ((credential: string) => string)[] = [
  (credential) => credential,
  (credential) => `the provider said: ${credential}.`,
  (credential) => `first line\n${credential}\nlast line`,
  (credential) => JSON.stringify({ error: `first line\n${credential}\tend` }),
  (credential) => JSON.stringify({ cause: JSON.stringify({ message: `a\r\n${credential}` }) }),
  (credential) => `("${credential}")`,
  (credential) => `a=${credential};b=1`,
];

test.each(Object.entries(FORMS))("code 21: a %s is cut out wherever it stands", (_, form) => {
  fc.assert(
    fc.property(letters(ALNUM, 24), fc.constantFrom(...CONTEXTS), (secret, context) => {
      expect(redactSecrets(context(form(secret)))).not.toContain(secret);
    }),
  );
});

test("code 21: keys of our own may hold any sign that we mint them of", () => {
  fc.assert(
    fc.property(letters(URL_SAFE, 24), fc.constantFrom("sk-", "gwt_", "hbk_"), (secret, prefix) => {
      expect(redactSecrets(`key ${prefix}${secret} end`)).toBe("key [redacted] end");
    }),
  );
});

test.each([
  "ask-me-anything about risk-averse-strategies, as-needed",
  "request 0199a8f2-7c1d-7000-8000-1234567890ab settled: model claude-sonnet-5, 12 tokens",
  "https://gateway.example.com/v1/sessions?org_id=org_a&limit=10",
  "PostgreSQL cannot be reached: connect ECONNREFUSED 127.0.0.1:5432",
  '{"prompt_tokens":12,"completion_tokens":345678901,"total_tokens":345678913}',
  "The bearer token is not one of this gateway's.",
  "set LLM_PROXY_MASTER_KEY and GATEWAY_API_TOKEN",
  "batch 5f0c, org_a, event 12, credits 0.000000000001",
])("%s is left as it is", (text) => {
  expect(redactSecrets(text)).toBe(text);
});

test("code 21: it is linear in its text, whatever that is", () => {
  const started = performance.now();
  for (const piece of ["a", "sk-", "api_key=", "http://", "postgres://a:", "\\n", "_-", "Bearer ", "token:"])
    redactSecrets(piece.repeat(200_000 / piece.length));

  // `patience` of the testing package, which this one stands below.
  expect(performance.now() - started).toBeLessThan(Number(process.env["TEST_PATIENCE"] ?? 1) * 5_000);
});
