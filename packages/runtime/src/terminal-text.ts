import { stripVTControlCharacters, styleText } from "node:util";

/** What stands out where there is colour; elsewhere these leave no trace. */
export const mark = {
  strong: (text: string): string => styleText("bold", text, { validateStream: false }),
  good: (text: string): string => styleText("green", text, { validateStream: false }),
  warn: (text: string): string => styleText("yellow", text, { validateStream: false }),
  bad: (text: string): string => styleText(["bold", "red"], text, { validateStream: false }),
} as const;

/** Where text goes. Without a width lines stay whole, so that what reads a pipe finds them so. */
export interface TextSurface {
  readonly width: number | undefined;
  readonly colour: boolean;
}

/** For output that is no terminal: no colours, and lines as long as they are. */
export const PLAIN_SURFACE: TextSurface = { width: undefined, colour: false };
const USUAL_WIDTH = 80;

/** A terminal has its own width, 80 where it does not say, and colour unless NO_COLOR or TERM=dumb forbid it; anything else is plain. */
export function surfaceOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  environment: Readonly<Record<string, string | undefined>>,
): TextSurface {
  if (stream.isTTY !== true) return PLAIN_SURFACE;
  const isColoured = (environment["NO_COLOR"] ?? "") === "" && environment["TERM"] !== "dumb";
  return { width: stream.columns || USUAL_WIDTH, colour: isColoured };
}

/** Text for people as the surface shows it: long lines go on under what they say, and no word is ever cut. */
export function fitText(text: string, { width, colour }: TextSurface): string {
  const shown = colour ? text : stripVTControlCharacters(text);
  return width === undefined
    ? shown
    : shown
        .split("\n")
        .map((line) => wrapLine(line, width))
        .join("\n");
}

const lengthOf = (text: string): number => stripVTControlCharacters(text).length;

function wrapLine(line: string, width: number): string {
  if (lengthOf(line) <= width) return line;
  const indent = indentOf(stripVTControlCharacters(line), width);
  const lines: string[] = [];
  let current = "";
  for (const [piece, word = ""] of line.matchAll(/ *([^ ]+)/g)) {
    if (current === "" || lengthOf(current) + lengthOf(piece) <= width) current += piece;
    else {
      lines.push(current);
      current = `${" ".repeat(indent)}${word}`;
    }
  }
  return [...lines, current].join("\n");
}

/** Under the second column where there is one, else two further in than the line. */
function indentOf(line: string, width: number): number {
  const column = /^ *\S+(?: \S+)* {2,}(?=\S)/.exec(line)?.[0].length;
  if (column !== undefined && column <= width / 2) return column;
  return (/^ */.exec(line)?.[0].length ?? 0) + 2;
}
