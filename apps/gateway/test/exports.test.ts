import { connect, type Socket } from "node:net";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { syncSpend } from "@proliferate/services/billing";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { ReportRoom } from "../src/report-room.ts";
import { serveGateway, startTestGateway, type TestGateway, TOKEN } from "./test-gateway.ts";

const EVENTS = 20_000;
/** As the gateway's room has it. */
const SEATS = 4;

let gateway: TestGateway;
const sockets: Socket[] = [];
beforeAll(async () => {
  gateway = await startTestGateway();
  const rows = Array.from({ length: EVENTS }, (_, index) => ({ requestId: `r_${index}`, orgId: "org_many", spendUsd: "0.001" }));
  await insertSpendRows(gateway.database.db, rows);
  await syncSpend(gateway.database.db, { rate: { markup: "3", creditsPerUsd: "100" }, fullSweep: true });
});
afterAll(async () => {
  sockets.forEach((socket) => socket.destroy());
  await gateway.stop();
});

/** Asks for an export and reads nothing but its first bytes; resolves with its status line. */
async function stalledExport(url = gateway.url): Promise<{ readonly statusLine: string; readonly socket: Socket }> {
  const { port } = new URL(url);
  const socket = connect({ port: Number(port), host: "127.0.0.1" });
  sockets.push(socket);
  socket.on("error", () => undefined);
  socket.write(`GET /v1/billing/export?format=json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`);
  const statusLine = await new Promise<string>((done) =>
    socket.once("data", (chunk: Buffer) => done(chunk.toString("latin1").split("\r\n")[0] ?? "")),
  );
  return { statusLine, socket: socket.pause() };
}

test("code 18, hostile 6: readers that do not read hold no connection, are at most so many, and are cut; everybody else is served", async () => {
  const stalled = await Promise.all(Array.from({ length: SEATS }, () => stalledExport()));
  expect(stalled.map(({ statusLine }) => statusLine)).toEqual(stalled.map(() => "HTTP/1.1 200 OK"));

  expect(await gateway.call("GET", "/v1/billing/export")).toMatchObject({ status: 429, body: { error: { code: "reports_busy" } } });
  expect((await gateway.call("GET", "/v1/sessions?org_id=org_many")).status).toBe(200);
  expect((await gateway.call("GET", "/readyz")).status).toBe(200);

  await expect.poll(async () => (await gateway.call("GET", "/v1/billing/status")).status).toBe(200);
  await Promise.all(stalled.map(({ socket }) => new Promise((done) => socket.once("close", done).resume())));
});

test("an export that is read has every event once, in the order of recording", async () => {
  const { status, body } = await gateway.call("GET", "/v1/billing/export?format=json");
  const ids = (body as string)
    .trimEnd()
    .split("\n")
    .map((line) => Number((JSON.parse(line) as { event_id: string }).event_id));

  expect({ status, events: ids.length, distinct: new Set(ids).size }).toEqual({ status: 200, events: EVENTS, distinct: EVENTS });
  expect(ids).toEqual(ids.toSorted((left, right) => left - right));
});

test("code 18: an export that is read steadily and never to its end is cut when the time for all of it is over", async () => {
  const reports = new ReportRoom({ db: gateway.database.db, seats: 1, idleMs: 600_000, wholeMs: 500 });
  const works = vi.spyOn(reports, "run");
  const proxy = { adminUrl: "http://127.0.0.1:9", baseUrl: "http://127.0.0.1:9/v1", masterKey: "sk-master-of-nothing" };
  const other = await serveGateway(gateway.database.db, proxy, undefined, undefined, undefined, undefined, reports);
  onTestFinished(() => other.stop());
  const { statusLine, socket } = await stalledExport(other.url);
  // A little every 20 ms: never idle, and not done for minutes.
  const reading = setInterval(() => socket.read(256), 20);
  onTestFinished(() => clearInterval(reading));
  const seat = async (): Promise<string> => {
    try {
      reports.checkSeat();
      return "free";
    } catch {
      return "taken";
    }
  };

  // By now its time may be over already: that it took a seat is known by the work that was begun in the room.
  expect([statusLine, works.mock.calls.length]).toEqual(["HTTP/1.1 200 OK", 1]);
  await expect.poll(seat).toBe("free");
  const closed = new Promise((done) => socket.once("close", done));
  clearInterval(reading);
  socket.resume();
  await closed;
});
