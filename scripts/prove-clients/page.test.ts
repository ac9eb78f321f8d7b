import { expect, test } from "vitest";
import { reasonOf } from "./agent-runs.ts";
import { type Outcome, steady } from "./outcomes.ts";
import { figuresTable, refusalTable } from "./page.ts";
import { SITUATIONS, TOOL_SITUATION } from "./situations.ts";

const situationOf = (name: string) => SITUATIONS.find((situation) => situation.name === name) ?? expect.unreachable(name);
const outcome = (client: string, name: string, more: Partial<Outcome> = {}): Outcome => ({
  situation: name === TOOL_SITUATION.name ? TOOL_SITUATION : situationOf(name),
  family: client.split(" ")[0] ?? "",
  client,
  asked: 1,
  isAnswered: false,
  isSteady: true,
  told: "No.",
  wrong: [],
  ...more,
});

test("who does the same stands in one row, a whole family by its name, in the order of the situations", () => {
  const outcomes = [
    outcome("a 1", "spent budget"),
    outcome("a 2", "spent budget"),
    outcome("b 1", "spent budget"),
    outcome("b 2", "spent budget", { asked: 2 }),
    outcome("b 1", "answers", { isAnswered: true, told: "its answer", asked: 3, isSteady: false }),
    outcome("a 1", TOOL_SITUATION.name, { isAnswered: true, told: "its answer" }),
  ];

  expect(refusalTable(outcomes).split("\n").slice(2)).toEqual([
    "| a loop of tools | a | 1 | its answer |",
    "| answers | b | several | its answer |",
    "| spent budget | a; b (b 1) | 1 | No. |",
    "| spent budget | b (b 2) | 2 | No. |",
  ]);
});

test("the figures of a run have a row for each client, and say who has no answer, who tries on and what was not run", () => {
  const outcomes = [
    outcome("a 1", "answers", { isAnswered: true }),
    outcome("a 1", "provider 500, for good", { asked: 7, goesOn: true }),
    outcome("a 2", "answers", { asked: 2 }),
  ];

  expect(figuresTable(outcomes).split("\n")).toEqual([
    "| client | answers | provider 500, for good |",
    "| --- | --- | --- |",
    "| a, a 1 | 1 | 7…, no answer |",
    "| a, a 2 | 2, no answer | – |",
  ]);
});

test("of what a program wrote the line is told that says why, without what differs from run to run", () => {
  const text = [
    "\u001B[31m> build · gpt-5-mini\u001B[0m",
    "\u001B[91mError: The API key expired at 2026-11-28T09:08:12.483Z. See http://127.0.0.1:40123/v1 for experiment-7-of-the-laboratory.\u001B[0m",
    "      at transform (file:chunk.js:44:43027)",
    "DeprecationWarning: something is old",
    "──────",
    "Done.",
  ].join("\n");

  expect(steady(reasonOf(text), "gpt-5-mini")).toBe("Error: The API key expired at …. See http://…/v1 for it.");
  expect(reasonOf("one\ntwo\n\n")).toBe("two");
});
