import { readdirSync, readFileSync } from "node:fs";
import { patience, until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RepositoryServer, serveRedirect, serveRepository, serveSilence } from "./repository-server.ts";
import { type SandboxGateway, startSandboxGateway, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** Repositories whose servers do what servers should not. */

const TOKEN = "ghp_token_of_the_repository_tests";

let gateway: SandboxGateway;
const servers: RepositoryServer[] = [];
beforeAll(async () => {
  gateway = await startSandboxGateway();
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await gateway.stop();
});

let sessions = 0;
const newSession = (): string => `s${(sessions += 1)}`;
async function started(server: Promise<RepositoryServer>): Promise<RepositoryServer> {
  servers.push(await server);
  return server;
}
const launch = (sessionId: string, url: string, headers: Readonly<Record<string, string>> = {}, files: object = {}) =>
  gateway.call(
    "POST",
    "/v1/sessions?wait=true",
    { session_id: sessionId, org_id: "org_a", launcher: "local", repo: { url }, files },
    headers,
  );

test("sessions F1: a token goes to the repository's own server, and not to the one that this redirects to", async () => {
  const other = await started(serveRepository());
  const redirecting = await started(serveRedirect(other.url));
  const failed = await launch(newSession(), redirecting.url, { "x-repo-token": TOKEN });
  const reachedWithToken = other.requests.length;
  const open = await launch(newSession(), redirecting.url);

  expect([failed.status, failed.body.error.code, failed.body.error.message]).toEqual([
    502,
    "repo_unavailable",
    expect.stringContaining("redirects"),
  ]);
  expect(redirecting.requests[0]?.authorization).toBe(`Basic ${Buffer.from(`x-access-token:${TOKEN}`).toString("base64")}`);
  expect([reachedWithToken, open.status, other.requests.length > 0]).toEqual([0, 201, true]);
});

test("sessions F1: a token follows no redirect that a configuration in the sandbox allows, and no URL that it rewrites", async () => {
  const other = await started(serveRepository());
  const redirecting = await started(serveRedirect(other.url));
  const allowed = await launch(
    newSession(),
    redirecting.url,
    { "x-repo-token": TOKEN },
    { ".gitconfig": `[http "${redirecting.url}"]\n\tfollowRedirects = true\n[http]\n\tfollowRedirects = true\n` },
  );
  const reached = other.requests.length;
  const rewritten = await launch(
    newSession(),
    redirecting.url,
    { "x-repo-token": TOKEN },
    { ".gitconfig": `[url "${other.url}"]\n\tinsteadOf = ${redirecting.url}\n` },
  );

  expect([allowed.body.error?.code, reached]).toEqual(["repo_unavailable", 0]);
  expect([rewritten.status, other.requests.length > 0, other.requests.filter(({ authorization }) => authorization !== undefined)]).toEqual([
    201,
    true,
    [],
  ]);
});

test("sessions F1: the token is in no process's arguments, in the environment of git alone, and not in that of what a checkout runs", async () => {
  const secrets = [TOKEN, Buffer.from(`x-access-token:${TOKEN}`).toString("base64")];
  const holds = (text: string): boolean => secrets.some((secret) => text.includes(secret));
  const inArguments: string[] = [];
  const inEnvironment = new Set<string>();
  const repository = await started(
    serveRepository(TOKEN, () => {
      for (const { command, environment } of processes()) {
        if (holds(command)) inArguments.push(command);
        if (holds(environment)) inEnvironment.add(/^(git|\S*\/git-core\/git[\w-]*)$/.test(command.split("\0")[0] ?? "") ? "git" : command);
      }
    }),
  );
  const sessionId = newSession();
  // A filter, as an image or a file may bring it: git runs it at the checkout.
  const cloned = await launch(
    sessionId,
    repository.url,
    { "x-repo-token": TOKEN },
    {
      ".gitconfig": '[filter "seen"]\n\tsmudge = "env >>$HOME/seen; cat"\n\trequired = true\n[core]\n\tattributesFile = ~/.attributes\n',
      ".attributes": "* filter=seen\n",
    },
  );
  const seen = Buffer.from(await (await gateway.provider.find(sessionId)).readFile("seen")).toString();

  expect([cloned.status, inArguments, [...inEnvironment]]).toEqual([201, [], ["git"]]);
  expect([seen.includes("HOME="), holds(seen)]).toEqual([true, false]);
});

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Ended meanwhile.
    return "";
  }
}

/** Every process of this machine that can be read. */
function processes(): readonly { readonly command: string; readonly environment: string }[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => ({ command: read(`/proc/${pid}/cmdline`), environment: read(`/proc/${pid}/environ`) }));
}

test("sessions F4: a session whose repository's server stays silent is ended at once, and nothing of it is left", async () => {
  const silent = await started(serveSilence());
  const sessionId = newSession();
  const starting = launch(sessionId, silent.url);
  await until(() => silent.requests.length > 0);
  const began = performance.now();
  const ended = await gateway.call("DELETE", `/v1/sessions/${sessionId}`);
  const tookMs = performance.now() - began;
  const failed = await starting;

  expect([ended.status, ended.body.state, failed.body.error.code]).toEqual([200, "ended", "sandbox_launch_cancelled"]);
  expect(tookMs).toBeLessThan(patience(5_000));
  for (let other = 1; other < sessions; other += 1) await gateway.call("DELETE", `/v1/sessions/s${other}`);
  await untilNothingIsLeft(gateway.rootFolder);
});
