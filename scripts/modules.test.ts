import { expect, test } from "vitest";
import { importStatements, Modules } from "./modules.ts";

test.each([
  ['import { one, type Two as Three } from "./a.ts";', { specifier: "./a.ts", names: ["one", "Two"] }],
  ['import type { One } from "@x/a/noun";', { specifier: "@x/a/noun", names: ["One"] }],
  ['import one, { two } from "a";', { specifier: "a", names: ["default", "two"] }],
  ['import "./a.ts";', { specifier: "./a.ts", names: [] }],
  ['import {\n  one,\n  two,\n} from "./a.ts";', { specifier: "./a.ts", names: ["one", "two"] }],
  ['import * as all from "./a.ts";\nall.one(all.two);', { specifier: "./a.ts", names: ["one", "two"] }],
  ['import * as all from "./a.ts";\n/** Of all. */\nall.one();', { specifier: "./a.ts", names: ["one"] }],
  ['import * as all from "./a.ts";\nObject.keys(all);', { specifier: "./a.ts", names: "*" }],
  ['const { one, two: three } = await import("./a.ts");', { specifier: "./a.ts", names: ["one", "two"] }],
  ['await (await import("./a.ts")).one();', { specifier: "./a.ts", names: ["one"] }],
  ['const all = await import("./a.ts");', { specifier: "./a.ts", names: "*" }],
  ['export { one as two } from "./a.ts";', { specifier: "./a.ts", names: ["one"], exportedAs: ["two"] }],
  ['export * from "./a.ts";', { specifier: "./a.ts", names: "*", exportedAs: [] }],
] as const)("reads %j", (source, expected) => {
  expect(importStatements(source)).toEqual([{ exportedAs: undefined, ...expected }]);
});

test("a comment imports nothing", () => {
  expect(importStatements('/**\n * import { one } from "./a.ts";\n */\n// import "./b.ts";')).toEqual([]);
});

const modules = new Modules(
  new Map([
    [
      "packages/a/package.json",
      JSON.stringify({ name: "@x/a", exports: { "./noun": "./src/noun/index.ts", "./test/*": "./test/*.ts", "./*": "./src/*.ts" } }),
    ],
    ["packages/a/src/noun/index.ts", 'export { one as uno } from "./db.ts";\nexport * from "./types.ts";\nexport { z } from "zod";'],
    ["packages/a/src/noun/db.ts", "export function one() {}"],
    ["packages/a/src/noun/types.ts", "export interface Two {}"],
    ["packages/a/test/noun.ts", "export const planted = 1;"],
    [
      "apps/b/src/main.ts",
      'import { uno, type Two, z } from "@x/a/noun";\nimport { planted } from "@x/a/test/noun";\nimport { z } from "zod";',
    ],
  ]),
);

test("a name is followed through the package's map and its index to the file that declares it", () => {
  expect(modules.namesImportedBy("apps/b/src/main.ts")).toEqual([
    { asked: "packages/a/src/noun/index.ts", name: "uno", declaration: { path: "packages/a/src/noun/db.ts", name: "one" } },
    { asked: "packages/a/src/noun/index.ts", name: "Two", declaration: { path: "packages/a/src/noun/types.ts", name: "Two" } },
    { asked: "packages/a/src/noun/index.ts", name: "z", declaration: { path: "packages/a/src/noun/index.ts", name: "z" } },
    { asked: "packages/a/test/noun.ts", name: "planted", declaration: { path: "packages/a/test/noun.ts", name: "planted" } },
  ]);
});

test.each([
  ["@x/a/noun", "packages/a/src/noun/index.ts"],
  ["@x/a/noun/db", "packages/a/src/noun/db.ts"],
  ["@x/a/nothing", undefined],
  ["@x/a", undefined],
  ["zod", undefined],
  ["../../../packages/a/src/noun/db.ts", "packages/a/src/noun/db.ts"],
])("%s is the file %s", (specifier, path) => {
  expect(modules.resolve("apps/b/src/main.ts", specifier)).toBe(path);
});
