import { expect, test } from "vitest";
import { deadExports } from "./dead-exports.ts";
import { readTrackedFiles } from "./modules.ts";

const texts = await readTrackedFiles();

/** The files that the published package opens: who asks them stands outside. */
const published = Object.values(
  (JSON.parse(texts.get("packages/shared/package.json") ?? "") as { exports: Record<string, string> }).exports,
).map((target) => target.replace(/^\./, "packages/shared"));

/** What tests alone ask for, and yet stays, by file and name. */
const KEPT: Readonly<Record<string, string>> = {
  "packages/conversation/test/sdk-requests.ts SDKRequests": "the compiler's own reader of types asks for it by its file",
  "packages/db/src/index.ts connectionConfig": "a test opens the pool of a process and stands in between",
  "packages/db/src/index.ts sessionSettings": "the same",
  "packages/services/src/billing-gate/gate.ts checkBillingGate": "the gate's question alone, whose rules the tests of the gate hold",
  "packages/services/src/ledger/retention.ts readLowWaterMark": "the mark that billing status shows, as the ledger knows it",
  "packages/services/src/sinks/db.ts listShadowDifferences": "the report of a move from one sink to another, by hand (sinks/README.md)",
  "packages/services/src/webhook-events/signature.ts verifyWebhook": "what a receiver does, which is outside",
};

test("code 11: every export has an importer, seen through package maps and indexes", () => {
  const dead = deadExports(texts, (path) => published.includes(path) || path === "vitest.global-setup.ts");

  expect(published).toContain("packages/shared/src/index.ts");
  const found = dead.map(({ path, name, why }) => ({ key: `${path} ${name}`, why }));
  expect(found.filter(({ key }) => !(key in KEPT)).map(({ key, why }) => `${key}: ${why}`)).toEqual([]);
  expect(Object.keys(KEPT).filter((key) => !found.some((one) => one.key === key))).toEqual([]);
});

const MANIFEST = JSON.stringify({ name: "@x/a", exports: { "./noun": "./src/noun/index.ts", "./test/*": "./test/*.ts" } });

test.each([
  ["imported over the map and the index", { "apps/b/src/main.ts": 'import { one } from "@x/a/noun";' }, []],
  ["imported by nobody", {}, ["packages/a/src/noun/index.ts one: nobody imports it"]],
  [
    "handed out to a test",
    { "apps/b/test/b.test.ts": 'import { one } from "@x/a/noun";' },
    ["packages/a/src/noun/index.ts one: an index hands it to tests alone"],
  ],
  [
    "kept alive by its test",
    { "packages/a/src/noun/index.ts": "", "packages/a/src/noun/one.test.ts": 'import { one } from "./one.ts";' },
    ["packages/a/src/noun/one.ts one: only tests import it, and nothing of its own file uses it"],
  ],
  [
    "a part that its file uses and a test calls alone",
    {
      "packages/a/src/noun/index.ts": 'export { two } from "./one.ts";',
      "packages/a/src/noun/one.ts": "export function one() {}\nexport const two = one;",
      "packages/a/src/noun/one.test.ts": 'import { one } from "./one.ts";',
      "apps/b/src/main.ts": 'import { two } from "@x/a/noun";',
    },
    [],
  ],
  [
    "used in a comment alone",
    {
      "packages/a/src/noun/index.ts": "",
      "packages/a/src/noun/one.ts": "/** What `one` does. */\nexport function one() {}",
      "packages/a/src/noun/one.test.ts": 'import { one } from "./one.ts";',
    },
    ["packages/a/src/noun/one.ts one: only tests import it, and nothing of its own file uses it"],
  ],
  [
    "of a test's own file",
    { "apps/b/src/main.ts": 'import { one } from "@x/a/noun";', "packages/a/test/stand.ts": "export const two = 2;" },
    ["packages/a/test/stand.ts two: nobody imports it"],
  ],
])("the check is honest: %s", (_case, changed, expected) => {
  const files = {
    "packages/a/package.json": MANIFEST,
    "packages/a/src/noun/index.ts": 'export { one } from "./one.ts";',
    "packages/a/src/noun/one.ts": "export function one() {}",
    ...changed,
  };
  const dead = deadExports(new Map(Object.entries(files)));

  expect(dead.map(({ path, name, why }) => `${path} ${name}: ${why}`)).toEqual(expected);
});
