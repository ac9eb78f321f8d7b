import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { exportedNames } from "./docstrings.ts";

const ROOT = new URL("../", import.meta.url);
/** Of product code alone: neither tests nor what stands in for the outside. */
const sources = execFileSync("git", ["ls-files", "apps", "packages"], { cwd: ROOT, encoding: "utf8" })
  .split("\n")
  .filter((path) => /\/src\/.*\.ts$/.test(path) && !/\.test\.ts$|\/test-[a-z-]+\.ts$|^packages\/testing\//.test(path));

/** Parts of a hundred that must have a docstring. None of these may be lowered. */
const LEAST: Readonly<Record<string, number>> = {
  "packages/shared": 100,
  "packages/runtime": 100,
  "packages/db": 100,
  "packages/access": 90,
  "packages/conversation": 95,
  "packages/metering": 95,
  "packages/services": 89,
  "apps/cli": 80,
  "apps/gateway": 95,
  "apps/llm-proxy": 80,
  "apps/worker": 100,
};

test.each(Object.entries(LEAST))("code 12: of the exports of %s, %i in a hundred say what they guarantee", (folder, least) => {
  const names = sources
    .filter((path) => path.startsWith(`${folder}/`))
    .flatMap((path) =>
      exportedNames(readFileSync(new URL(path, ROOT), "utf8")).map((one) => ({ ...one, where: `${path}:${one.line} ${one.name}` })),
    );
  const without = names.filter(({ hasDocstring }) => !hasDocstring).map(({ where }) => where);

  expect(names.length).toBeGreaterThan(10);
  expect(without.length / names.length > 1 - least / 100 ? without : []).toEqual([]);
});

test("every package and app has its figure", () => {
  const folders = new Set(sources.map((path) => path.split("/").slice(0, 2).join("/")));

  expect([...folders].toSorted()).toEqual(Object.keys(LEAST).toSorted());
});

test.each([
  ["/** Says it. */\nexport const one = 1;", [["one", true]]],
  ["/**\n * Says it.\n */\nexport async function one() {}", [["one", true]]],
  ["/* No docstring. */\nexport class One {}", [["One", false]]],
  ["// No docstring.\nexport interface One {}", [["One", false]]],
  ["/** Of something else. */\n\nexport type One = 1;", [["One", false]]],
  ["/** Says it. */\n// oxfmt-ignore\nexport const ONE = {};", [["ONE", true]]],
  ["/** Says it. */\nexport function one(a: 1): 1;\nexport function one(a: 2): 2;", [["one", true]]],
  ['export { one } from "./one.ts";\nexport type { Two } from "./two.ts";\nexport * from "./three.ts";', []],
  [
    "export default function one() {}\nexport abstract class Two {}",
    [
      ["one", false],
      ["Two", false],
    ],
  ],
])("the measure is honest: %j", (source, expected) => {
  expect(exportedNames(source).map(({ name, hasDocstring }) => [name, hasDocstring])).toEqual(expected);
});
