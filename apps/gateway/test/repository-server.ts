import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** For tests only: an HTTP server of a repository, and what reached it. */
export interface RepositoryServer {
  /** Of its repository. */
  readonly url: string;
  /** Headers of every request, in order. */
  readonly requests: readonly IncomingHttpHeaders[];
  stop(): Promise<void>;
}

async function serve(listener: RequestListener, clean: () => Promise<void> = async () => undefined): Promise<RepositoryServer> {
  const requests: IncomingHttpHeaders[] = [];
  const server: Server = createServer((request, response) => {
    requests.push(request.headers);
    listener(request, response);
  });
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/project.git`,
    requests,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((done) => void server.close(done));
      await clean();
    },
  };
}

/** Git's dumb protocol over a real repository with two commits, the first of them tagged `v1`; with `token`, for whoever sends it. `onRequest` is called before each answer. */
export async function serveRepository(token?: string, onRequest?: () => void): Promise<RepositoryServer> {
  const folder = await mkdtemp(join(tmpdir(), "gateway-repository-"));
  const git = (...args: string[]) =>
    promisify(execFile)("git", ["-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.com", ...args]);
  await git("init", "--quiet", "--initial-branch", "main");
  await promisify(execFile)("sh", ["-c", `echo first > ${folder}/README`]);
  await git("add", "README");
  await git("commit", "--quiet", "-m", "first");
  await git("tag", "v1");
  await git("commit", "--quiet", "--allow-empty", "-m", "second");
  await git("update-server-info");
  const expected = token === undefined ? undefined : `Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
  return serve(
    (request, response) => {
      onRequest?.();
      if (expected !== undefined && request.headers.authorization !== expected)
        return void response.writeHead(401, { "www-authenticate": "Basic" }).end();
      const path = new URL(request.url ?? "/", "http://localhost").pathname.replace("/project.git", "");
      readFile(join(folder, ".git", path)).then(
        (content) => response.end(content),
        () => response.writeHead(404).end(),
      );
    },
    () => rm(folder, { recursive: true, force: true }),
  );
}

/** Sends every request on to another server's repository. */
export const serveRedirect = (target: string): Promise<RepositoryServer> =>
  serve((request, response) => void response.writeHead(302, { location: target + (request.url ?? "").replace("/project.git", "") }).end());

/** Accepts every connection and never answers. */
export const serveSilence = (): Promise<RepositoryServer> => serve(() => undefined);
