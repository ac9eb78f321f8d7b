import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { sandboxName } from "@proliferate/shared/sandbox";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RepositoryServer, serveRepository } from "./repository-server.ts";
import { type SandboxGateway, startSandboxGateway } from "./sandbox-gateway.ts";
import { TOKEN } from "./test-gateway.ts";

const PROVIDER_KEY = "sk-ant-api03-provider-key-of-the-containment-test";
const REPO_TOKEN = "ghp_token_of_the_containment_test";
const SECRET = "value-of-the-organization";

let gateway: SandboxGateway;
let repository: RepositoryServer;
beforeAll(async () => {
  // As an operator's shell would have it: nothing of this process's environment may reach a sandbox.
  process.env["ANTHROPIC_API_KEY"] = PROVIDER_KEY;
  gateway = await startSandboxGateway();
  repository = await serveRepository(REPO_TOKEN);
});
afterAll(async () => {
  delete process.env["ANTHROPIC_API_KEY"];
  await gateway.stop();
  await repository.stop();
});

/** Everything below the sandbox's folder, and the environment of every process in it. */
async function contentsOf(sessionId: string): Promise<{ readonly disk: string; readonly environment: string }> {
  const sandbox = await gateway.provider.find(sessionId);
  const folder = join(gateway.rootFolder, "sandboxes", sandboxName(sessionId));
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const disk = (await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")))).join("\n");
  const inside = await sandbox.exec(["env"]);
  const processes = await Promise.all(
    (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map((pid) => readFile(`/proc/${pid}/environ`, "latin1").catch(() => "")),
  );
  return {
    disk,
    environment: [inside.stdout, ...processes.filter((text) => text.includes(`PROLIFERATE_SANDBOX_ID=${sandbox.id}\0`))].join("\n"),
  };
}

const launch = (sessionId: string, orgId: string, body: object = {}, headers = {}) =>
  gateway.call("POST", "/v1/sessions?wait=true", { session_id: sessionId, org_id: orgId, launcher: "local", ...body }, headers);
const keyIn = (environment: string): string => /LLM_PROXY_API_KEY=(\S+?)[\n\0]/.exec(environment)?.[1] ?? "";

test("a sandbox's whole environment and disk hold its own key and nobody else's secret", async () => {
  const started = await launch(
    "s1",
    "org_a",
    { secrets: { ORG_SECRET: SECRET }, repo: { url: repository.url, ref: "v1" } },
    { "x-repo-token": REPO_TOKEN },
  );
  expect(started.status).toBe(201);
  await launch("s2", "org_b");
  const [mine, theirs] = [await contentsOf("s1"), await contentsOf("s2")];
  const cloned = await (await gateway.provider.find("s1")).exec(["git", "log", "--format=%s"], { workingFolder: "workspace" });
  const all = mine.disk + mine.environment;

  expect(cloned.stdout).toBe("first\n");
  expect([
    keyIn(mine.environment).length > 20,
    mine.environment.includes(SECRET),
    keyIn(mine.environment) !== keyIn(theirs.environment),
  ]).toEqual([true, true, true]);
  const forbidden = {
    provider: PROVIDER_KEY,
    master: gateway.proxy.masterKey,
    gateway: TOKEN,
    repository: REPO_TOKEN,
    repositoryHeader: Buffer.from(`x-access-token:${REPO_TOKEN}`).toString("base64"),
    neighbour: keyIn(theirs.environment),
    database: gateway.database.connectionString,
  };
  expect(
    Object.entries(forbidden)
      .filter(([, secret]) => all.includes(secret))
      .map(([name]) => name),
  ).toEqual([]);
});

test("the database holds neither a sandbox's key nor its password, its secrets or a repository's token", async () => {
  const started = await launch(
    "s3",
    "org_a",
    { secrets: { ORG_SECRET: SECRET }, repo: { url: repository.url } },
    { "x-repo-token": REPO_TOKEN },
  );
  const { environment } = await contentsOf("s3");
  const { db } = gateway.database;
  const rows = JSON.stringify([
    await db.selectFrom("gateway_sessions").selectAll().execute(),
    await db.selectFrom("session_events").selectAll().execute(),
  ]);

  expect([keyIn(environment), started.body.agent.password, SECRET, REPO_TOKEN].filter((secret) => rows.includes(secret))).toEqual([]);
});

test("a repository that refuses the token ends the session, without the token in any message", async () => {
  const failed = await launch("s4", "org_a", { repo: { url: repository.url } }, { "x-repo-token": "wrong-token" });
  const session = await gateway.call("GET", "/v1/sessions/s4");

  expect([failed.status, failed.body.error.code, session.body.state]).toEqual([502, "repo_unavailable", "ended"]);
  expect(JSON.stringify([failed.body, session.body])).not.toContain("wrong-token");
});
