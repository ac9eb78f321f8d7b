import { describe, expect, it } from "vitest";
import { z } from "zod";
import { booleanFlag, commandWords, httpUrl, parseEnvironment, portNumber } from "./env.ts";

describe("parseEnvironment", () => {
  it("gives values of their types, and defaults for what is unset or empty", () => {
    const shape = {
      PORT: portNumber.default(8787),
      FLAG: booleanFlag.default(false),
      URL: httpUrl.optional(),
      NAME: z.string().optional(),
    };

    expect(parseEnvironment(shape, { PORT: "0", FLAG: "Yes", URL: "http://localhost:1//", NAME: " ", OTHER: "ignored" })).toEqual({
      PORT: 0,
      FLAG: true,
      URL: "http://localhost:1",
    });
    expect(parseEnvironment(shape, { PORT: "", FLAG: undefined })).toEqual({ PORT: 8787, FLAG: false });
  });

  it("names every wrong variable at once and repeats no value", () => {
    const shape = { DATABASE_URL: z.string(), PORT: portNumber, PROXY: httpUrl };

    expect(() => parseEnvironment(shape, { PORT: "70000", PROXY: "secret-value" })).toThrow(
      expect.objectContaining({
        code: "env_invalid",
        message: expect.stringMatching(/DATABASE_URL is not set; PORT: .*; PROXY: must be an http/),
      }),
    );
    expect(() => parseEnvironment(shape, { PORT: "70000", PROXY: "secret-value" })).not.toThrow(/secret-value/);
  });
});

describe("booleanFlag", () => {
  it.each([
    ["1", true],
    ["true", true],
    ["YES", true],
    ["on", true],
    ["0", false],
    ["False", false],
    ["no", false],
    ["off", false],
  ])("reads %s as %s", (text, value) => {
    expect(booleanFlag.parse(text)).toBe(value);
  });

  it.each(["", "2", "ture", "yes please"])("refuses %j, so a typing error switches no guard off", (text) => {
    expect(booleanFlag.safeParse(text).success).toBe(false);
  });
});

describe("portNumber and httpUrl", () => {
  it("refuse what is no port and no web address", () => {
    for (const text of ["-1", "65536", "80.5", "http"]) expect(portNumber.safeParse(text).success).toBe(false);
    for (const text of ["localhost:4000", "ftp://host", "//host", "http://"]) expect(httpUrl.safeParse(text).success).toBe(false);
  });
});

describe("commandWords", () => {
  it.each([
    ["opencode", ["opencode"]],
    [" env  A=1 opencode ", ["env", "A=1", "opencode"]],
    ['["/opt/my tools/opencode", "--print-logs"]', ["/opt/my tools/opencode", "--print-logs"]],
  ])("reads %j", (text, words) => {
    expect(commandWords.parse(text)).toEqual(words);
  });

  it.each([" ", "[]", '[""]', "[1]", '["opencode"', '[["opencode"]]'])("refuses %j", (text) => {
    expect(commandWords.safeParse(text).success).toBe(false);
  });
});
