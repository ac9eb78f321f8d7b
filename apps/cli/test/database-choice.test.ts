import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { runCli } from "./cli-process.ts";

// Each test starts several processes, and a busy machine takes seconds for one.
vi.setConfig({ testTimeout: 90_000 });

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "llm-gateway-cli-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** What a running development stack leaves for the command line; it runs as long as `pid` lives. */
async function leaveStack(port: number, pid: number, databaseUrl = database.connectionString): Promise<void> {
  const path = join(folder, `stack-${port}`);
  await mkdir(path);
  await writeFile(join(path, "lock"), `${pid}\n`);
  await writeFile(join(path, "env"), `DATABASE_URL=${databaseUrl}\nLITELLM_DB_SCHEMA=litellm\n`);
}

const status = (environment: Readonly<Record<string, string>> = {}, ...argv: readonly string[]) =>
  runCli(["status", ...argv], { DEV_STATE_FOLDER: folder, ...environment });
/** No process has it: beyond the largest pid_max. */
const DEAD_PID = 2 ** 30;

test("without any variable the one running development stack is used", async () => {
  await leaveStack(4000, process.pid);
  await leaveStack(4100, DEAD_PID, "postgresql://nobody@127.0.0.1:1/none");

  expect(await status()).toMatchObject({ status: 0, stderr: "" });
});

test("of several stacks the port says which", async () => {
  await leaveStack(4000, process.pid, "postgresql://nobody@127.0.0.1:1/none");
  await leaveStack(4100, process.pid);

  const [undecided, chosen, wrong] = await Promise.all([status(), status({}, "--stack", "4100"), status({}, "--stack", "4200")]);

  expect(undecided).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/2 development stacks run here \(4000, 4100\).*--stack PORT/),
  });
  expect(chosen.status).toBe(0);
  expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining("No development stack runs on port 4200") });
});

test("with neither a variable nor a stack it says what to do", async () => {
  await leaveStack(4000, DEAD_PID);

  expect(await status()).toMatchObject({ status: 2, stdout: "", stderr: expect.stringMatching(/DATABASE_URL is not set.*dev-start/) });
});

test("a database that does not answer, or has no tables, is named without its password", async () => {
  const [unreachable, empty] = await Promise.all([
    status({ DATABASE_URL: "postgresql://someone:hunter2secret@127.0.0.1:1/none" }),
    status({ DATABASE_URL: database.connectionString, LITELLM_DB_SCHEMA: "nowhere" }),
  ]);

  expect(unreachable).toMatchObject({ status: 1, stderr: expect.stringMatching(/PostgreSQL cannot be reached/) });
  expect(unreachable.stderr).not.toContain("hunter2secret");
  expect(empty).toMatchObject({ status: 1, stderr: expect.stringMatching(/spend table does not exist.*LITELLM_DB_SCHEMA/) });
});

test("a value that is no URL of PostgreSQL is refused before anything is asked, and not printed", async () => {
  expect(await status({ DATABASE_URL: "secret-host" })).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringMatching(/DATABASE_URL: must be a postgresql:\/\/ URL/),
  });
  expect((await status({ DATABASE_URL: "https://someone:hunter2secret@db" })).stderr).not.toContain("hunter2secret");
});
