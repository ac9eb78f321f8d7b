import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const ROOT = new URL("../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), "utf8");
const files = execFileSync("git", ["ls-files"], { cwd: ROOT, encoding: "utf8" }).split("\n");
const tables = new Set(
  ["gateway", "litellm"].flatMap((set) =>
    readdirSync(new URL(`packages/db/migrations/${set}/`, ROOT)).flatMap((name) =>
      [
        ...read(`packages/db/migrations/${set}/${name}`).matchAll(
          /create table (?:if not exists )?"?(\w+)|alter table \w+ rename to (\w+)/gi,
        ),
      ].map(([, made, renamed]) => made ?? renamed),
    ),
  ),
);
const rows = [...read("docs/glossary.md").matchAll(/^\| (?!noun )([^|]+) \| ([^|]+) \|([^|]*)\| `([^|]+)` \|$/gm)].map(
  ([, noun = "", meaning = "", table = "", file = ""]) => ({ noun, meaning, table: table.replaceAll(/[ `]/g, ""), file }),
);

test("code 12: the glossary has forty nouns or more, each once, in order, with a meaning that is a sentence", () => {
  expect(rows.length).toBeGreaterThanOrEqual(40);
  expect(rows.map(({ noun }) => noun)).toEqual(
    [...new Set(rows.map(({ noun }) => noun))].toSorted((one, other) => one.localeCompare(other)),
  );
  expect(rows.filter(({ meaning }) => !/^[A-Z`].*\.$/.test(meaning))).toEqual([]);
});

test("code 12: each table and each file that the glossary names exists", () => {
  expect(rows.filter(({ table }) => table !== "" && !tables.has(table))).toEqual([]);
  expect(rows.filter(({ file }) => !files.some((path) => path === file || path.endsWith(`/${file}`)))).toEqual([]);
});

test("code 12: the words with two meanings are told apart", () => {
  const settled = read("docs/glossary.md").split("## Words with two meanings")[1] ?? "";
  for (const word of [
    "Request",
    "attempt",
    "delivery",
    "Virtual key",
    "idempotency key",
    "Billing event",
    "session event",
    "Team",
    "organization",
    "payer",
    "principal",
  ])
    expect(settled).toContain(word);
});

test("code 12: every noun's folder has a README, which begins with its title", () => {
  const folders = new Set(
    files
      .flatMap((path) => /^packages\/(?:services|access|metering)\/src\/[a-z-]+(?=\/)/.exec(path)?.[0] ?? [])
      .filter((folder) => folder !== ""),
  );

  expect(folders.size).toBeGreaterThan(15);
  expect([...folders].filter((folder) => !files.includes(`${folder}/README.md`))).toEqual([]);
  expect([...folders].filter((folder) => !/^# \S/.test(read(`${folder}/README.md`)))).toEqual([]);
});
