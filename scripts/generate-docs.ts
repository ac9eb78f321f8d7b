import { readFile, writeFile } from "node:fs/promises";
import { ERROR_CODES, REFUSAL_KINDS, REFUSALS } from "@proliferate/shared/errors";
import { ENGINE_FEATURES } from "@proliferate/services/engines";
import { groupHelp } from "../apps/cli/src/command-line.ts";
import { defaultOf, ENVIRONMENT_TABLES, type EnvironmentTable } from "./environment-tables.ts";
import { litellmFieldsPage } from "./litellm-fields-page.ts";
import { tableRow as row } from "./markdown-table.ts";
import { translationPage } from "./translation-page.ts";

/**
 * Writes the tables in docs/ that the code already states. `node scripts/generate-docs.ts` writes them,
 * `node scripts/generate-docs.ts --check` only says whether they are up to date (status 1 when not).
 */

const GENERATED = "<!-- Written by scripts/generate-docs.ts; change the code and run it again. -->";

function errorsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(([code, { status, retryable, anthropicType, openaiType, fix }]) =>
    row(`\`${code}\``, status === 0 ? "–" : String(status), retryable ? "yes" : "no", `\`${anthropicType}\``, `\`${openaiType}\``, fix),
  );
  return `${[
    "# Error codes",
    GENERATED,
    "",
    "Every error has a code of this table, wherever it is met. The gateway answers `{error: {code, message, fix, request_id, param?}}`;",
    "the proxy answers in the dialect of the route (`error.type` is one of the two type columns). A status of – never reaches a",
    "caller over HTTP: it stops a start, is thrown by `@proliferate/shared`, or stands on a settlement batch. An error that is not",
    "worth a retry is sent with `x-should-retry: false` by the proxy.",
    "",
    row("code", "status", "retry", "Anthropic type", "OpenAI type", "what to do"),
    row(...Array.from({ length: 6 }, () => "---")),
    ...rows,
    "",
    "## Refusals by client",
    "",
    "What is exhausted, and what there is not, is told so that the caller's program understands it; the program is known by its `user-agent`. OpenCode repeats each 429 for",
    "ever and stops at 402, and its provider `openai` repeats each 404 for more than a minute; Codex knows a spent quota only as 429 `insufficient_quota`, and repeats any other only where `retry-after` stands beside it; LiteLLM's client",
    "(aider) repeats what it has no class for, and Codex a 403, so that both are told 400 instead of each status but 401, 404 and 429 (and LiteLLM's 422) that is not worth a retry; other SDKs and Claude Code obey `x-should-retry: false`.",
    "",
    row("what", "codes", "Codex", "OpenCode", "others"),
    row(...Array.from({ length: 5 }, () => "---")),
    ...refusalRows(),
  ].join("\n")}\n`;
}

function refusalRows(): readonly string[] {
  return Object.entries(REFUSALS).map(([kind, { codex, opencode, other }]) => {
    const codes = Object.entries(REFUSAL_KINDS).flatMap(([code, of]) => (of === kind ? [`\`${code}\``] : []));
    const told = [codex, opencode, other].map(
      ({ status, retryable, openaiType }) => `${status} \`${openaiType}\`${retryable ? "" : ", no retry"}`,
    );
    return row(kind.replaceAll("_", " "), codes.join(", ") || "–", ...told);
  });
}

function environmentSection({ title, note, shape }: EnvironmentTable): string[] {
  const rows = Object.entries(shape).map(([name, schema]) => row(`\`${name}\``, defaultOf(schema), schema.description ?? ""));
  return [
    "",
    `## ${title}`,
    "",
    ...(note === "" ? [] : [note, ""]),
    row("variable", "default", "what it is"),
    row("---", "---", "---"),
    ...rows,
  ];
}

function environmentPage(): string {
  return `${[
    "# Environment variables",
    GENERATED,
    "",
    "Each process reads its variables once, at its start, and names every wrong one in a single error. An empty value counts as unset.",
    ...Object.values(ENVIRONMENT_TABLES).flatMap(environmentSection),
  ].join("\n")}\n`;
}

const yesOrNo = (able: boolean): string => (able ? "yes" : "no");

function enginesPage(): string {
  const rows = Object.entries(ENGINE_FEATURES).map(([feature, { litellm, ours, what }]) =>
    row(`\`${feature}\``, yesOrNo(litellm), yesOrNo(ours), what),
  );
  return `${[
    "# What the engines can do",
    GENERATED,
    "",
    "Stock LiteLLM and our engine stand behind the same `LLM_PROXY_URL`. The gateway is told which one it has by `LLM_PROXY_ENGINE`; where its",
    "settings ask for what that one cannot do, it does not start, and names them (`engine_lacks_feature`).",
    "",
    row("feature", "stock LiteLLM", "ours", "what it is"),
    row(...Array.from({ length: 4 }, () => "---")),
    ...rows,
  ].join("\n")}\n`;
}

/** Path below the repository's root → what must stand there. */
export function generatedDocs(): Readonly<Record<string, string>> {
  return {
    "docs/errors.md": errorsPage(),
    "docs/env.md": environmentPage(),
    "docs/engines.md": enginesPage(),
    "docs/litellm-fields.md": litellmFieldsPage(GENERATED),
    "docs/translation.md": translationPage(GENERATED),
    "scripts/help/billing.txt": groupHelp("billing"),
    "scripts/help/session.txt": groupHelp("session"),
  };
}

async function main(check: boolean): Promise<void> {
  for (const [path, text] of Object.entries(generatedDocs())) {
    const url = new URL(`../${path}`, import.meta.url);
    const present = await readFile(url, "utf8").catch(() => "");
    if (present === text) continue;
    if (!check) await writeFile(url, text);
    if (check) process.exitCode = 1;
    process.stdout.write(`${path} ${check ? "is out of date: run node scripts/generate-docs.ts" : "written"}\n`);
  }
}

if (import.meta.main) await main(process.argv.includes("--check"));
