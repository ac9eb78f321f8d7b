import type { FieldCase, Refused } from "../apps/llm-proxy/test/litellm-field-case.ts";
import { FIELDS } from "../apps/llm-proxy/test/litellm-fields.ts";
import { VALUES } from "../apps/llm-proxy/test/litellm-values.ts";
import { table } from "./markdown-table.ts";

interface Row {
  readonly kinds: readonly string[];
  /** Its field, where the value does not name it. */
  readonly name?: string | undefined;
  readonly field: FieldCase;
}

/** Rows of several requests that say the same are one. */
function grouped(rows: readonly { readonly kind: string; readonly name?: string; readonly field: FieldCase }[]): readonly Row[] {
  const groups = new Map<string, Row>();
  for (const { kind, name, field } of rows) {
    const { seen, without, litellm, what } = field;
    const value = field.fields("…");
    const unnamed = name === undefined || name in value ? undefined : name;
    const key = JSON.stringify([unnamed, value, what, seen, without, litellm]);
    groups.set(key, { kinds: [...(groups.get(key)?.kinds ?? []), kind], name: unnamed, field });
  }
  return [...groups.values()];
}

/** What was seen, as a reader takes it. */
function shown(seen: unknown): string {
  if (seen === undefined) return "–";
  if (typeof seen === "boolean") return seen ? "yes" : "no";
  if (typeof seen === "object" && seen !== null && "refused" in seen) {
    const { refused, forLicence } = seen as Refused;
    return `refused with ${refused}${forLicence ? ", for want of a licence" : ""}`;
  }
  if (Array.isArray(seen)) return seen.length === 0 ? "none" : seen.map(shown).join(", ");
  if (typeof seen === "object" && seen !== null)
    return (
      Object.entries(seen)
        .map(([name, value]) => `${name}: ${shown(value)}`)
        .join("; ") || "empty"
    );
  return seen === "" ? "nothing" : String(seen);
}

const valueOf = ({ name, field }: Row): string =>
  `${name === undefined ? "" : `\`${name}\` beside `}\`${JSON.stringify(field.fields("…"))}\``;

/** What differs; where only the key without the field does, that is what is shown. */
function differingRow(row: Row): readonly string[] {
  const { kinds, field } = row;
  const { seen, without, litellm } = field;
  const sides: [string[], string[]] = [[], []];
  if (litellm && "seen" in litellm) [sides[0][0], sides[1][0]] = [shown(seen), shown(litellm.seen)];
  if (litellm && "without" in litellm) {
    sides[0].push(`without it: ${shown(without)}`);
    sides[1].push(`without it: ${shown(litellm.without)}`);
  }
  return [kinds.join(", "), valueOf(row), field.what, sides[0].join(". "), sides[1].join(". "), litellm?.because ?? ""];
}

function sameRow(row: Row): readonly string[] {
  const { what, seen, without } = row.field;
  return [row.kinds.join(", "), valueOf(row), what, shown(seen), shown(without)];
}

/** docs/litellm-fields.md: what each field of LiteLLM's keys, teams and budgets does, here and by LiteLLM, as the table test runs it. */
export function litellmFieldsPage(generated: string): string {
  const fields = grouped(
    Object.entries(FIELDS).flatMap(([kind, rows]) => Object.entries(rows).map(([name, field]) => ({ kind, name, field }))),
  );
  const values = grouped(VALUES.map((field) => ({ kind: field.kind, field })));
  const [request, value, what] = ["request", "value", "looked at"];
  const differing = [request, value, what, "here", "LiteLLM 1.104.0", "why"];
  return `${[
    "# LiteLLM's fields, here and by LiteLLM",
    generated,
    "",
    "What each field of LiteLLM's key, team and budget requests does. Every line is a test (`apps/llm-proxy/test/litellm-fields.test.ts`) that runs on our engine with",
    "each build, and by `./scripts/prove-litellm-fields.sh` on a real LiteLLM 1.104.0 without a licence, one process, no Redis; a difference that is",
    "not one any more fails there. Requests: `key` is `/key/generate`, `update` `/key/update`, `team` `/team/new`, `budget` `/budget/new` and `budget update`",
    "`/budget/update`, both looked at through a key of that budget. `calls` are the statuses of two: of claude-haiku-4-5 by Anthropic Messages, and of",
    "gpt-4o-mini by OpenAI chat completions; `calls in turn` those of two of claude-haiku-4-5, the second made when the first stands on the key;",
    "`models` are those of `claude-haiku-4-5`, `anthropic/claude-haiku-4-5` and `gpt-4o-mini` that `GET /v1/models` lists. LiteLLM's licence is",
    "needed by a field that is refused *for want of a licence*.",
    "",
    "Beside the tables, seen by hand on that LiteLLM: when 120 keys with an `rpm_limit` and then 40 with a budget had been used in a few minutes, a key with `rpm_limit: 1`",
    "had every request answered; by its code, limits of a minute stand in a memory of 200 entries that other things fill, too. Here each limit is a row that each request locks.",
    "",
    "## Fields that differ",
    "",
    ...table(differing, fields.filter(({ field }) => field.litellm).map(differingRow)),
    "",
    "## Values that differ",
    "",
    ...table(differing, values.filter(({ field }) => field.litellm).map(differingRow)),
    "",
    "## Fields that do the same",
    "",
    ...table([request, value, what, "with it", "without it"], fields.filter(({ field }) => !field.litellm).map(sameRow)),
    "",
    "## Values that do the same",
    "",
    ...table(
      [request, value, what, "seen"],
      values.filter(({ field }) => !field.litellm).map((row) => sameRow(row).slice(0, 4)),
    ),
  ].join("\n")}\n`;
}
