/**
 * Exports and their docstrings. An export is a declaration that begins a line with `export` (re-exports are the other file's);
 * it has a docstring when the comment that ends directly above it begins with two stars. Overloads of a function count once, and so
 * does a name that is both value and type.
 */

interface ExportedName {
  readonly name: string;
  readonly line: number;
  readonly hasDocstring: boolean;
}

const DECLARATION =
  /^export (?:default )?(?:declare )?(?:abstract )?(?:async )?(?:function\*? +(\w+)|(?:class|interface|type|const|let|enum|namespace) +(\w+)|(?:const|let) +[{[])/;

/** What a TypeScript source exports by declaration, in order. */
export function exportedNames(source: string): readonly ExportedName[] {
  const lines = source.split("\n");
  const found = new Map<string, ExportedName>();
  for (const [index, line] of lines.entries()) {
    const match = DECLARATION.exec(line);
    if (!match) continue;
    const name = match[1] ?? match[2] ?? line;
    const one = { name, line: index + 1, hasDocstring: endsInDocstring(lines, index) };
    const known = found.get(name);
    if (known === undefined || !known.hasDocstring) found.set(name, known === undefined ? one : { ...one, line: known.line });
  }
  return [...found.values()];
}

/** Whether the lines before this one end with a docstring; a comment to the linter may stand between. */
function endsInDocstring(lines: readonly string[], index: number): boolean {
  let end = index - 1;
  while (/^\s*\/\/ (oxlint|oxfmt)-/.test(lines[end] ?? "")) end -= 1;
  if (!/\*\/\s*$/.test(lines[end] ?? "")) return false;
  let start = end;
  while (start >= 0 && !/^\s*\/\*/.test(lines[start] ?? "")) start -= 1;
  return /^\s*\/\*\*/.test(lines[start] ?? "");
}
