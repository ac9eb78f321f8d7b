import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { findUnpinned, isAllowedLicence } from "./audit.ts";

test("hostile 20: every package of the lock file is pinned by its content and comes from no host of its own", async () => {
  expect(findUnpinned(await readFile(new URL("../pnpm-lock.yaml", import.meta.url), "utf8"))).toEqual([]);
});

test("hostile 20: what is not pinned, or comes from elsewhere, is named", () => {
  const lockFile = [
    "packages:",
    "  a@1.0.0:",
    "    resolution: {integrity: sha1-abc}",
    "  b@1.0.0:",
    "    resolution:",
    "      tarball: http://host.example/b.tgz",
    "  c@1.0.0: {}",
  ].join("\n");

  expect(findUnpinned(lockFile)).toEqual([
    "a@1.0.0 is not pinned by a sha512 of its content",
    "b@1.0.0 comes from http: instead of the registry",
    "c@1.0.0 is not pinned by a sha512 of its content",
  ]);
});

test.each([
  ["MIT", true],
  ["(MIT OR GPL-3.0)", true],
  ["MIT AND Apache-2.0", true],
  ["MIT AND GPL-3.0", false],
  ["AGPL-3.0", false],
  ["", false],
])("hostile 20: the licence %s may be shipped: %s", (licence, expected) => {
  expect(isAllowedLicence(licence)).toBe(expected);
});
