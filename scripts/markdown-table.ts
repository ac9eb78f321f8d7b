/** A row of a table in Markdown; `|` and line breaks of the cells do not end them. */
export function tableRow(...cells: readonly string[]): string {
  return `| ${cells.map((text) => text.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

/** A table in Markdown, line by line. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  return [tableRow(...head), tableRow(...head.map(() => "---")), ...rows.map((cells) => tableRow(...cells))];
}
