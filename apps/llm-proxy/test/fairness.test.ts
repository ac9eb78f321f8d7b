import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createTestDatabase } from "@proliferate/db/test-database";
import { until } from "@proliferate/testing/test-patience";
import { expect, onTestFinished, test } from "vitest";
import { mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { MESSAGE } from "./test-stack.ts";

const KB = 1024;
const ANSWERS = 30;
/** More than all the buffers of the system between provider and proxy hold. */
const ANSWER_BYTES = 64 * 1024 * KB;
const PIECE = Buffer.alloc(64 * KB, "x");
/** What a turn of the event loop relays at most: `LANES` of fair-reads.ts, and a piece of each above it. */
const TURN_BYTES = (64 + 2 * 32 + 3 * 16) * KB;
/** Accepting a connection, reading its request and answering it, with one more where the turn of the reads comes first. */
const TURNS_OF_A_SMALL_ANSWER = 4;

test("hostile 7: a small answer waits for a bounded number of bytes of thirty large ones that are there, not for all of them", async () => {
  const provider = await startProvider();
  const proxy = await startProxy(provider.url);
  const { key } = await mintKey(proxy);
  let received = 0;
  const callers = await Promise.all(Array.from({ length: ANSWERS }, async () => ask(proxy, key, (bytes) => (received += bytes))));
  await until(
    () => provider.begun(),
    (begun) => begun === ANSWERS,
  );
  const other = await open(proxy);
  const pid = proxy.child.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  try {
    // Everything that the proxy sent has been read, and whatever the provider can send without it is on its way.
    await untilStill(() => received + provider.sent());
    expect(provider.waiting()).toBeGreaterThan(ANSWERS / 2);
    received = 0;
    const answered = once(other, "data");
    await new Promise((done) => other.write("GET /health/liveliness HTTP/1.1\r\nhost: x\r\n\r\n", done));
    process.kill(pid, "SIGCONT");
    const [answer] = (await answered) as [Buffer];
    const before = received;

    expect(answer.toString("latin1")).toContain("200 OK");
    expect(before).toBeLessThanOrEqual(TURNS_OF_A_SMALL_ANSWER * TURN_BYTES);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await until(
    () => received,
    (bytes) => bytes > 10 * TURNS_OF_A_SMALL_ANSWER * TURN_BYTES,
  );
  for (const caller of callers) caller.destroy();
});

/** Resolves when a number is the same at four looks. */
async function untilStill(read: () => number): Promise<void> {
  let last = -1;
  let looks = 0;
  await until(
    () => {
      const now = read();
      looks = now === last ? looks + 1 : 0;
      last = now;
      return looks;
    },
    (same) => same >= 4,
  );
}

async function startProxy(providerUrl: string): Promise<ProxyProcess> {
  const database = await createTestDatabase();
  const proxy = await startProxyProcess({ connectionString: database.connectionString, providerUrl });
  onTestFinished(async () => {
    await proxy.kill();
    await database.drop();
  });
  return proxy;
}

/** Sends large answers, each as fast as it is read. */
async function startProvider() {
  const responses: ServerResponse[] = [];
  let sent = 0;
  const send = (response: ServerResponse, left: number): void => {
    if (left <= 0) return void response.end('"}]}');
    sent += PIECE.length;
    if (response.write(PIECE)) setImmediate(send, response, left - PIECE.length);
    else response.once("drain", () => send(response, left - PIECE.length));
  };
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      responses.push(response);
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"');
      send(response, ANSWER_BYTES);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    begun: () => responses.length,
    sent: () => sent,
    /** Answers that the proxy has to read before more of them can be sent. */
    waiting: () => responses.filter((response) => response.writableNeedDrain).length,
  };
}

async function open(proxy: ProxyProcess): Promise<Socket> {
  const socket = connect(Number(new URL(proxy.url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** Asks for a large answer and reads it as it comes. */
async function ask(proxy: ProxyProcess, key: string, take: (bytes: number) => void): Promise<Socket> {
  const socket = await open(proxy);
  const body = JSON.stringify(MESSAGE);
  const head = `POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
  socket.on("data", (chunk) => take(chunk.length));
  socket.write(`${head}\r\n\r\n${body}`);
  return socket;
}
