import { readFileSync } from "node:fs";

/** The pages whose commands people type. */
const PAGES = [
  "README.md",
  "docs/operations.md",
  "docs/billing.md",
  "docs/http-api.md",
  "docs/pricing.md",
  "packages/shared/README.md",
  "apps/llm-proxy/README.md",
] as const;

export interface DocumentCommand {
  readonly page: string;
  readonly line: number;
  /** As it is printed, without the comment behind it, on one line. */
  readonly text: string;
}

const FENCE = /^```(sh|bash)\n(.*?)^```$/gms;
/** A span that begins as a command does, perhaps behind variables. */
const SPAN = /`((?:[A-Z][A-Z0-9_]*=\S+ )*(?:\.\/scripts\/|(?:node|docker|pnpm|npm|npx|ngrok|sh|curl|psql) )[^`\n]*)`/g;
const COMMENT = /\s+# .*$/;

/** Every command of a page, in its order: the lines of its shell blocks, and the spans that are commands. */
export function commandsOf(page: string, text: string): readonly DocumentCommand[] {
  const lineOf = (index: number): number => text.slice(0, index).split("\n").length;
  const fenced = [...text.matchAll(FENCE)].flatMap((block) =>
    linesOf(block[2] ?? "").map(({ line, offset }) => ({ page, line: lineOf(block.index) + 1 + offset, text: line })),
  );
  // A block has its lines already; blanked, so that the lines behind it keep their numbers.
  const prose = text.replaceAll(/^```.*?^```$/gms, (block) => block.replaceAll(/[^\n]/g, " "));
  const spans = [...prose.matchAll(SPAN)].map((span) => ({ page, line: lineOf(span.index), text: span[1] ?? "" }));
  return [...fenced, ...spans].toSorted((a, b) => a.line - b.line);
}

/** Lines that end in a backslash go on in the next. */
function linesOf(block: string): readonly { readonly line: string; readonly offset: number }[] {
  const lines: { line: string; offset: number }[] = [];
  let begun: { line: string; offset: number } | undefined;
  for (const [offset, raw] of block.split("\n").entries()) {
    begun = {
      line: `${begun ? `${begun.line} ` : ""}${raw.replace(/\\$/, "").replace(COMMENT, "").trim()}`,
      offset: begun?.offset ?? offset,
    };
    if (raw.endsWith("\\")) continue;
    if (begun.line !== "" && !begun.line.startsWith("#")) lines.push(begun);
    begun = undefined;
  }
  return lines;
}

/** Of all pages, each command once: where it is printed first. */
export function documentCommands(root: URL): readonly DocumentCommand[] {
  const seen = new Set<string>();
  const all = PAGES.flatMap((page) => commandsOf(page, readFileSync(new URL(page, root), "utf8")));
  return all.filter(({ text }) => !seen.has(text) && seen.add(text));
}
