import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { openDatabase } from "@proliferate/db";
import { onServer, withDatabaseName } from "@proliferate/db/test-database";
import { patience } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { startTestDeployment, type TestDeployment } from "./test-deployment.ts";

/** The guide "Upgrade and rollback" of docs/operations.md, followed with an older commit's code; with TEST_UPGRADE_FROM, which names it, alone. */
const from = process.env["TEST_UPGRADE_FROM"];

const run = promisify(execFile);
const NEW = new URL("../../", import.meta.url);
const name = `upgrade_test_${randomBytes(6).toString("hex")}`;
const server = inject("postgresServer");
const databaseEnvironment = { DATABASE_URL: withDatabaseName(server, name) };

/** A checkout of the older commit, with its own dependencies. */
async function checkOut(commit: string): Promise<URL> {
  const folder = await mkdtemp("/var/tmp/llm-gateway-upgrade-");
  await run("git", ["clone", "--quiet", "--no-checkout", fileURLToPath(NEW), folder]);
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await run("git", ["-C", folder, "checkout", "--quiet", commit]);
  await run("bash", ["-c", ". scripts/toolchain.sh; prepare_toolchain"], { cwd: folder, maxBuffer: 64 * 1024 * 1024 });
  return pathToFileURL(`${folder}/`);
}

async function migrate(root: URL): Promise<void> {
  await run(process.execPath, [fileURLToPath(new URL("scripts/migrate.ts", root))], {
    env: { PATH: process.env["PATH"], ...databaseEnvironment },
  });
}

describe.skipIf(!from)("users 10: upgrade and rollback", () => {
  beforeEach(() => onServer(server, `create database ${name}`));
  afterEach(() => onServer(server, `drop database if exists ${name} with (force)`));

  test(
    "the old version goes on while the new one migrates, both run side by side, and the old one runs on the new schema",
    async () => {
      const old = await checkOut(from ?? "");
      await migrate(old);
      const db = openDatabase({ connectionString: databaseEnvironment.DATABASE_URL });
      onTestFinished(() => db.destroy());
      const start = async (root: URL): Promise<TestDeployment> => {
        const deployment = await startTestDeployment({ databaseEnvironment, db, root });
        onTestFinished(() => deployment.stop());
        return deployment;
      };

      const before = await start(old);
      await before.followOneRequest("before_the_upgrade");
      await migrate(NEW);
      await before.followOneRequest("old_on_the_new_schema");
      const after = await start(NEW);
      await Promise.all([after.followOneRequest("new_beside_old"), before.followOneRequest("old_beside_new")]);
      expect(await after.logs()).not.toMatch(/"level":(50|60)/);
      await before.stop();
      await after.followOneRequest("new_alone");
      await after.stop();
      const back = await start(old);
      await back.followOneRequest("rolled_back");

      expect(await back.logs()).not.toMatch(/"level":(50|60)/);
    },
    patience(600_000),
  );
});
