import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { FairReads } from "./fair-reads.ts";
import { readBody } from "./read-body.ts";

const KB = 1024;
const BODY_BYTES = 2 * 1024 * KB;
const BYTES_PER_TURN = 64 * KB;
/** Node reads so much of a connection at a time. */
const PIECE_BYTES = 64 * KB;
const UPLOADS = 24;

/** Bytes that were taken in each turn of the event loop, the most of them; counted by what the bodies' share of a turn is spent on. */
class CountedReads extends FairReads {
  mostOfATurn = 0;
  #ofTurn = 0;
  #isCounting = false;

  constructor() {
    super([{ upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: BYTES_PER_TURN, pieceBytes: PIECE_BYTES }]);
  }

  override join(...[flow, relay, fail]: Parameters<FairReads["join"]>): ReturnType<FairReads["join"]> {
    return super.join(
      flow,
      (chunk) => {
        this.#ofTurn += chunk.length;
        this.mostOfATurn = Math.max(this.mostOfATurn, this.#ofTurn);
        if (!this.#isCounting) setImmediate(() => ((this.#ofTurn = 0), (this.#isCounting = false)));
        this.#isCounting = true;
        relay(chunk);
      },
      fail,
    );
  }
}

async function uploadAll(reads: FairReads): Promise<readonly number[]> {
  const server = createServer((request, response) => {
    void readBody(request, { limitBytes: BODY_BYTES, reads }).then(
      ({ bytes }) => response.end(String(bytes.reduce((sum, byte) => sum + byte, 0))),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Promise.all(
    Array.from({ length: UPLOADS }, async (_, index) => {
      const response = await fetch(url, { method: "POST", body: new Uint8Array(BODY_BYTES).fill(index) });
      return Number(await response.text());
    }),
  );
}

test("issue 9: however many large bodies come at a time, a turn of the event loop reads its share of them and no more, and each comes whole", async () => {
  const reads = new CountedReads();
  expect(await uploadAll(reads)).toEqual(Array.from({ length: UPLOADS }, (_, index) => index * BODY_BYTES));
  expect(reads.heldBytes).toBe(0);
  // The piece that goes over its end is the last of a turn; a second turn may begin before the count of the first does.
  expect(reads.mostOfATurn).toBeLessThanOrEqual(2 * (BYTES_PER_TURN + PIECE_BYTES));
});
