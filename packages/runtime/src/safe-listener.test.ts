import { createServer, request as httpRequest, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { type RequestHandler, requestTarget, safeListener, withoutTrailingSlashes } from "./safe-listener.ts";

async function serve(handle: RequestHandler): Promise<{ readonly port: number; readonly failures: unknown[] }> {
  const failures: unknown[] = [];
  const server: Server = createServer(safeListener(handle, (error) => failures.push(error)));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, failures };
}

/** The status, or the code of the error of the connection. */
async function get(port: number, path = "/"): Promise<number | string> {
  return new Promise((done) => {
    const request = httpRequest({ port, host: "127.0.0.1", path }, (response) => {
      response.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "error"));
      response.resume().on("end", () => done(response.statusCode ?? 0));
    });
    request.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "error"));
    request.end();
  });
}

test.each([
  [
    "throws",
    () => {
      throw new Error("at once");
    },
  ],
  ["rejects", async () => Promise.reject(new Error("later"))],
] as const)("code 1: a handler that %s is a 500, and the server goes on", async (_, handle) => {
  const { port, failures } = await serve(handle);

  expect([await get(port), await get(port)]).toEqual([500, 500]);
  expect(failures).toHaveLength(2);
});

test("an answer that had begun is cut, so that nobody takes it for a whole one", async () => {
  const { port, failures } = await serve((_, response) => {
    response.writeHead(200, { "content-length": "10" }).write("half");
    throw new Error("in the middle");
  });

  expect(await get(port)).toBe("ECONNRESET");
  expect(failures).toHaveLength(1);
});

test("a failure of the failure handler does not end the process either", async () => {
  const server = createServer(
    safeListener(
      () => {
        throw new Error("first");
      },
      () => {
        throw new Error("second");
      },
    ),
  );
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());

  expect(await get((server.address() as AddressInfo).port)).toBe(500);
});

test.each([
  ["/a/b?x=1&y=%zz", "/a/b", { x: "1", y: "%zz" }],
  ["//", "//", {}],
  ["//a:b@c:99999/?", "//a:b@c:99999/", {}],
  ["http://[::1/x?y=2", "/x", { y: "2" }],
  ["http://host", "/", {}],
  ["*", "/*", {}],
  ["", "/", {}],
  ["/%00%ff?%", "/%00%ff", { "%": "" }],
  ["/x#frag?no=1", "/x", {}],
] as const)("code 1: the target %s has the path %s", (target, path, query) => {
  const parsed = requestTarget(target);

  expect({ path: parsed.path, query: Object.fromEntries(parsed.query) }).toEqual({ path, query });
});

test.each([
  ["/a///", "/a"],
  ["///", "/"],
  ["/", "/"],
  ["/a//b", "/a//b"],
])("%s without the slashes at its end is %s", (path, expected) => {
  expect(withoutTrailingSlashes(path)).toBe(expected);
});

test("code 1: `GET //` is answered, whatever the handler makes of it", async () => {
  const { port } = await serve((request, response) => void response.writeHead(requestTarget(request.url).path === "//" ? 404 : 200).end());

  const answer = await new Promise<string>((done) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    socket.once("data", (chunk) => done(chunk.toString("latin1")));
  });

  expect(answer).toMatch(/^HTTP\/1\.1 404 /);
});
