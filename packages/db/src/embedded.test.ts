import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startEmbeddedPostgres } from "./embedded.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp("/var/tmp/llm-gateway-embedded-test-");
  await chmod(folder, 0o755);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function query(connectionString: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}

test("data survives a stop and a start", async () => {
  const first = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });
  await query(first.connectionString, "create table note as select 'kept' as text");
  await first.stop();

  const second = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });

  expect(await query(second.connectionString, "select text from note")).toEqual([{ text: "kept" }]);
  await second.stop();
});

test("the server is gone when its owner is killed with SIGKILL, and the next start finds what was committed", async () => {
  const script = `
    import { startEmbeddedPostgres } from ${JSON.stringify(new URL("./embedded.ts", import.meta.url).href)};
    const postgres = await startEmbeddedPostgres({ dataFolder: ${JSON.stringify(join(folder, "postgres"))} });
    process.stdout.write(postgres.connectionString + "\\n");
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], { stdio: ["ignore", "pipe", "inherit"] });
  const connectionString = String((await once(owner.stdout, "data"))[0]).trim();
  await query(connectionString, "create table note as select 'kept' as text");

  owner.kill("SIGKILL");
  await once(owner, "exit");
  const next = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });

  expect(await query(next.connectionString, "select text from note")).toEqual([{ text: "kept" }]);
  await expect(query(connectionString, "select 1")).rejects.toThrow(/ECONNREFUSED/);
  await next.stop();
});

test("a wrong password is refused: other users of the machine share the loopback", async () => {
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });
  const url = new URL(postgres.connectionString);
  url.password = "guess";

  await expect(query(url.toString(), "select 1")).rejects.toThrow(/password authentication failed/);
  await postgres.stop();
});

test("a taken port is told with the server's own words", async () => {
  const holder = await startEmbeddedPostgres({ dataFolder: join(folder, "a", "postgres") });

  const second = startEmbeddedPostgres({ dataFolder: join(folder, "b", "postgres"), port: holder.port });

  await expect(second).rejects.toMatchObject({
    code: "embedded_postgres_failed",
    message: expect.stringContaining("Address already in use"),
  });
  await holder.stop();
});
