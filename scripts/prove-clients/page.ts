import { readFile, writeFile } from "node:fs/promises";
import { table } from "../markdown-table.ts";
import type { Outcome } from "./outcomes.ts";
import { type Situation, SITUATIONS } from "./situations.ts";

/** A part of docs/clients.md that a run writes. */
export type Section = "agents" | "figures" | "libraries" | "python";

const PAGE = new URL("../../docs/clients.md", import.meta.url);
const marks = (section: Section): readonly [string, string] => [
  `<!-- ${section}: written by prove-clients.sh -->`,
  `<!-- end of ${section} -->`,
];

/** What the page has in a section; throws where it has no such section. */
export async function readSection(section: Section): Promise<string> {
  return cut(await readFile(PAGE, "utf8"), section).inside.trim();
}

/** Puts a text in the place of a section. */
export async function writeSection(section: Section, text: string): Promise<void> {
  const { before, after } = cut(await readFile(PAGE, "utf8"), section);
  await writeFile(PAGE, `${before}\n\n${text}\n\n${after}`);
}

function cut(page: string, section: Section): { readonly before: string; readonly inside: string; readonly after: string } {
  const [begin, end] = marks(section);
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/clients.md has no section between ${begin} and ${end}`);
  return { before: page.slice(0, from + begin.length), inside: page.slice(from + begin.length, to), after: page.slice(to) };
}

function timesOf({ asked, isSteady }: Outcome): string {
  return isSteady || asked === 1 ? String(asked) : "several";
}

/** What clients meet, how often they ask, and what their users are told; those that do the same stand in one row. */
export function refusalTable(outcomes: readonly Outcome[]): string {
  const ordered = outcomes.toSorted((one, other) => order(one.situation) - order(other.situation));
  const groups = Map.groupBy(ordered, (outcome) => JSON.stringify([outcome.situation.name, timesOf(outcome), outcome.told]));
  const rows = [...groups.values()].map((group) => {
    const [first] = group;
    return first ? [first.situation.name, namesOf(group, outcomes), timesOf(first), first.told] : [];
  });
  return table(["what they meet", "which", "requests", "what the user is told"], rows).join("\n");
}

/** How often each client asked in one run, in each situation. */
export function figuresTable(outcomes: readonly Outcome[]): string {
  const situations = [...Map.groupBy(outcomes, ({ situation }) => situation.name).values()]
    .flatMap(([first]) => (first ? [first.situation] : []))
    .toSorted((one, other) => order(one) - order(other));
  const clients = Map.groupBy(outcomes, ({ family, client }) => `${family}, ${client}`);
  const rows = [...clients].map(([name, own]) => [
    name,
    ...situations.map((situation) => figureOf(own.find((outcome) => outcome.situation.name === situation.name))),
  ]);
  return table(["client", ...situations.map(({ name }) => name)], rows).join("\n");
}

/** What stands in no list comes first. */
const order = ({ name }: Situation): number => SITUATIONS.findIndex((situation) => situation.name === name);

function figureOf(outcome: Outcome | undefined): string {
  if (outcome === undefined) return "–";
  return `${outcome.asked}${outcome.goesOn ? "…" : ""}${outcome.isAnswered ? "" : ", no answer"}`;
}

/** The name of a family stands for all of it that met the situation. */
function namesOf(group: readonly Outcome[], all: readonly Outcome[]): string {
  const families = Map.groupBy(group, ({ family }) => family);
  return [...families]
    .map(([family, members]) => {
      const whole = all.filter((outcome) => outcome.family === family && outcome.situation.name === members[0]?.situation.name);
      return members.length === whole.length ? family : `${family} (${members.map(({ client }) => client).join(", ")})`;
    })
    .join("; ");
}
