import { describe, expect, it } from "vitest";
import { fitText, mark, PLAIN_SURFACE, surfaceOf } from "./terminal-text.ts";

const KEY = `sk-${"x".repeat(60)}`;

describe("users 12: text on a terminal of 80 columns", () => {
  const surface = { width: 80, colour: false };

  it("goes on under what it says, and cuts no word", () => {
    const line = `  provider     [STAND-IN] local provider at http://127.0.0.1:40001 (unset: ANTHROPIC_API_KEY, OPENAI_API_KEY)`;

    expect(fitText(line, surface)).toBe(
      "  provider     [STAND-IN] local provider at http://127.0.0.1:40001 (unset:\n               ANTHROPIC_API_KEY, OPENAI_API_KEY)",
    );
  });

  it("has no second column to go on under: two further in", () => {
    expect(fitText(`${"word ".repeat(20)}end`, surface)).toBe(`${"word ".repeat(15)}word\n  word word word word end`);
  });

  it("leaves a word whole that is longer than the line, and every word is there", () => {
    const fitted = fitText(`  key          ${KEY}${KEY} and more`, surface);

    expect(fitted).toContain(`${KEY}${KEY}`);
    expect(fitted.split(/\s+/)).toEqual(["", "key", `${KEY}${KEY}`, "and", "more"]);
  });

  it("counts no colour as width", () => {
    const line = `  ${mark.warn("[STAND-IN]")} ${"a".repeat(67)}`;

    expect(fitText(line, { width: 80, colour: true })).toBe(line);
  });
});

describe("users 12: colour", () => {
  const terminal = { isTTY: true, columns: 100 };

  it.each([
    [terminal, {}, { width: 100, colour: true }],
    [{ isTTY: true }, {}, { width: 80, colour: true }],
    [terminal, { NO_COLOR: "1" }, { width: 100, colour: false }],
    [terminal, { NO_COLOR: "" }, { width: 100, colour: true }],
    [terminal, { TERM: "dumb" }, { width: 100, colour: false }],
    [{ columns: 100 }, {}, PLAIN_SURFACE],
  ])("of %j with %j is %j", (stream, environment, expected) => {
    expect(surfaceOf(stream, environment)).toEqual(expected);
  });

  it("leaves no trace in a pipe, where lines stay whole", () => {
    const line = `${mark.bad("NOT EXACT")} ${"word ".repeat(30)}`;

    expect(fitText(line, PLAIN_SURFACE)).toBe(`NOT EXACT ${"word ".repeat(30)}`);
    expect(fitText(line, { width: undefined, colour: true })).toContain("\u001b[31m");
  });
});
