import { expect, it } from "vitest";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn-settings.ts";

it.each([
  "am_sk_test_1",
  " am_sk_test_1 ",
  "Bearer am_sk_test_1",
  "bearer  am_sk_test_1 # the test key",
  '"am_sk_test_1"',
  "'Bearer am_sk_test_1' # pasted",
])("reads the key out of %j", (text) => {
  expect(cleanAutumnSecretKey(text)).toBe("am_sk_test_1");
});

it.each([
  "https://api.useautumn.com",
  "https://api.useautumn.com/",
  "https://api.useautumn.com/v1",
  "https://api.useautumn.com//v1//",
  "https://api.useautumn.com/v1 # production",
])("reads the server's root out of %j", (text) => {
  expect(cleanAutumnUrl(text)).toBe("https://api.useautumn.com");
});
