import { expect, test } from "vitest";
import { redactSecrets } from "./redact-secrets.ts";

test.each([
  ["a virtual key", "key sk-AbC123_def-456 refused"],
  ["an Anthropic key", "sk-ant-api03-xxxxYYYY_zzz"],
  ["an Autumn key", "am_sk_test_0123456789"],
  ["a bearer token", "authorization: Bearer abcdefgh.ijkl"],
  ["a database password", "postgresql://app:s3cret-word@127.0.0.1:5432/app"],
])("%s is cut out of a log line", (_, line) => {
  const redacted = redactSecrets(line);

  expect(redacted).toContain("[redacted]");
  expect(redacted).not.toMatch(/AbC123|xxxxYYYY|0123456789|abcdefgh|s3cret/);
});

test("ordinary text stays as it is", () => {
  const line = '{"event":"settle.done","attempt":"0198","tokens":12,"url":"postgresql://127.0.0.1/app"}';

  expect(redactSecrets(line)).toBe(line);
});
