import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer, Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import { keepBuffersSmall } from "../http/buffer-pool.ts";
import { OutgoingBody } from "./outgoing-body.ts";
import { FairReads } from "../http/fair-reads.ts";
import { makeTestCertificate } from "./test-certificate.ts";
import { type UpstreamHead, Upstreams } from "./upstream.ts";

const POOL_BYTES = Buffer.poolSize;
afterEach(() => {
  Buffer.poolSize = POOL_BYTES;
  vi.unstubAllEnvs();
});

/** The piece that was begun before, which has 64 KB, is used up first. */
function keepBuffersSmallFromHere(): void {
  keepBuffersSmall();
  for (let bytes = 0; bytes < POOL_BYTES; bytes += 1_000) Buffer.from(Buffer.alloc(1_000));
}

test("hostile 7: what is held of a provider's answer is as large as it is, and at most 16 KB of it are read at a time", async () => {
  keepBuffersSmallFromHere();
  const chunks = await read(Buffer.alloc(1_000_000, "x"));

  expect(chunks.reduce((sum, chunk) => sum + chunk.length, 0)).toBe(1_000_000);
  expect(Math.max(...chunks.map((chunk) => chunk.buffer.byteLength))).toBeLessThanOrEqual(16 * 1024);
});

test("hostile 7: a little that is kept keeps at most 4 KB alive", () => {
  keepBuffersSmallFromHere();

  expect(Buffer.from(Buffer.alloc(1_000)).buffer.byteLength).toBeLessThanOrEqual(4_096);
  expect(Buffer.from(Buffer.alloc(3_000)).buffer.byteLength).toBe(3_000);
});

test("bytes come as they were sent, whatever was read after them", async () => {
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));

  expect(Buffer.concat(await read(sent)).equals(sent)).toBe(true);
});

test("an answer of which all came is whole, though its provider closes while it is stopped at its last piece", async () => {
  const body = Buffer.alloc(3_000, "x");
  const origin = await listen(
    createServer((request, response) => {
      request.resume().on("end", () => response.writeHead(200, { "content-length": body.length }).end(body, () => request.socket.end()));
    }),
  );
  const upstreams = new Upstreams({ timeoutMs: 60_000 });
  onTestFinished(async () => upstreams.stop());
  let bytes = 0;
  const request = { origin, path: "/", headers: {}, body: new OutgoingBody(Buffer.from("{}"), () => undefined) };
  const onHead = (head: UpstreamHead) => (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes === body.length) head.pause();
  };
  await upstreams.call(request, { onHead }, new AbortController().signal);

  expect(bytes).toBe(body.length);
});

test("over TLS, too: many at once that share what they are read into get each its own bytes", async () => {
  keepBuffersSmall();
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  const answers = [1, 2, 3, 4, 5, 6, 7, 8].map((factor) => Buffer.from(Array.from({ length: 200_000 }, (_, at) => (at * factor) % 251)));
  const origin = await listen(
    createTlsServer(makeTestCertificate(), (request, response) =>
      request.resume().on("end", () => response.end(answers[Number(request.url?.slice(1))])),
    ),
  );
  const upstreams = new Upstreams({ timeoutMs: 60_000, reads: withoutTurns() });
  onTestFinished(async () => upstreams.stop());
  const got = await Promise.all(answers.map(async (_, index) => readFrom(upstreams, origin, `/${index}`)));

  expect(got.map((chunks, index) => Buffer.concat(chunks).equals(answers[index] ?? Buffer.alloc(0)))).toEqual(answers.map(() => true));
  // Smaller ones are cut out of a piece that others have a part of, too.
  const large = got.flat().filter((chunk) => chunk.length >= 4 * 1024);
  expect(Math.max(...large.map((chunk) => chunk.buffer.byteLength))).toBeLessThanOrEqual(16 * 1024);
});

/** What is stopped for its turn has been read ahead, and comes as one piece with it later. */
const withoutTurns = (): FairReads => new FairReads([{ upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: Number.POSITIVE_INFINITY }]);

/** The pieces in which an answer comes. */
async function read(answer: Buffer): Promise<readonly Buffer[]> {
  const origin = await listen(createServer((request, response) => void request.resume().on("end", () => response.end(answer))));
  const upstreams = new Upstreams({ timeoutMs: 60_000, reads: withoutTurns() });
  onTestFinished(async () => upstreams.stop());
  return readFrom(upstreams, origin, "/");
}

/** Resolves with the server's origin. */
async function listen(server: Server | TlsServer): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `${server instanceof TlsServer ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function readFrom(upstreams: Upstreams, origin: string, path: string): Promise<readonly Buffer[]> {
  const chunks: Buffer[] = [];
  const request = { origin, path, headers: {}, body: new OutgoingBody(Buffer.from("{}"), () => undefined) };
  await upstreams.call(request, { onHead: () => (chunk) => void chunks.push(chunk) }, new AbortController().signal);
  return chunks;
}
