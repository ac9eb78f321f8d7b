import { readFile, writeFile } from "node:fs/promises";
import { table } from "../markdown-table.ts";
import type { Outcome } from "./outcomes.ts";

/** A part of docs/clients.md that a run writes. */
type Section = "agents" | "libraries";

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

/** What clients meet, how often they ask, and what their users are told; those that do the same stand in one row. */
export function refusalTable(outcomes: readonly Outcome[]): string {
  const groups = Map.groupBy(outcomes, ({ situation, asked, told }) => JSON.stringify([situation.name, asked, told]));
  const rows = [...groups.values()].map((group) => {
    const [first] = group;
    return first ? [first.situation.name, namesOf(group, outcomes), String(first.asked), first.told] : [];
  });
  return table(["what they meet", "which", "requests", "what the user is told"], rows).join("\n");
}

/** The name of a family stands for all of it. */
function namesOf(group: readonly Outcome[], all: readonly Outcome[]): string {
  const families = Map.groupBy(group, ({ family }) => family);
  return [...families]
    .map(([family, members]) => {
      const whole = new Set(all.filter((outcome) => outcome.family === family).map(({ client }) => client));
      return members.length === whole.size ? family : `${family} (${members.map(({ client }) => client).join(", ")})`;
    })
    .join("; ");
}
