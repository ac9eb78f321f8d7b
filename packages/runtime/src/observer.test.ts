import { expect, test } from "vitest";
import { isObserver } from "./observer.ts";

const TOKEN = "token-of-the-observer";

test.each([
  ["this machine", "127.0.0.1", {}, false],
  ["this machine with the token", "127.0.0.1", { authorization: `Bearer ${TOKEN}` }, true],
  ["another machine", "10.0.0.7", {}, false],
  ["another machine with the token", "10.0.0.7", { authorization: `Bearer ${TOKEN}` }, true],
  ["another machine with a wrong token", "10.0.0.7", { authorization: `Bearer ${TOKEN}x` }, false],
  ["a proxy with the token", "127.0.0.1", { "x-forwarded-for": "10.0.0.7", "authorization": `bearer ${TOKEN}` }, true],
])("hostile 13: where a token is set it is asked of everybody: %s", (_, remoteAddress, headers, expected) => {
  expect(isObserver({ remoteAddress, headers }, TOKEN)).toBe(expected);
});

test.each([
  ["this machine", "127.0.0.1", {}, true],
  ["this machine by IPv6", "::1", {}, true],
  ["this machine, mapped", "::ffff:127.0.0.1", {}, true],
  ["another machine", "10.0.0.7", {}, false],
  ["another machine whose address begins alike", "127.0.0.1.evil", {}, false],
  ["no socket", undefined, {}, false],
  ["a proxy on this machine that speaks for another", "127.0.0.1", { "x-forwarded-for": "10.0.0.7" }, false],
  ["a proxy that says only that it is one", "127.0.0.1", { via: "1.1 proxy" }, false],
  ["another machine with any token", "10.0.0.7", { authorization: "Bearer undefined" }, false],
])("hostile 13: without one it is this machine's own programs: %s", (_, remoteAddress, headers, expected) => {
  expect(isObserver({ remoteAddress, headers }, undefined)).toBe(expected);
});
