import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { keepBuffersSmall } from "../http/buffer-pool.ts";
import { OutgoingBody } from "./outgoing-body.ts";
import { Upstreams } from "./upstream.ts";

const POOL_BYTES = Buffer.poolSize;
afterEach(() => void (Buffer.poolSize = POOL_BYTES));

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

/** The pieces in which an answer comes. */
async function read(answer: Buffer): Promise<readonly Buffer[]> {
  const server = createServer((request, response) => void request.resume().on("end", () => response.end(answer)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const upstreams = new Upstreams({ timeoutMs: 60_000 });
  onTestFinished(async () => {
    await upstreams.stop();
    server.close();
  });
  const chunks: Buffer[] = [];
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const request = { origin, path: "/", headers: {}, body: new OutgoingBody(Buffer.from("{}"), () => undefined) };
  await upstreams.call(request, { onHead: () => (chunk) => void chunks.push(chunk) }, new AbortController().signal);
  return chunks;
}
