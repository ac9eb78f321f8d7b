import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { boundIdleConnections } from "./idle-connections.ts";

interface Client {
  readonly socket: Socket;
  isClosed: boolean;
}

async function serve(most: number): Promise<{ open(): Promise<Client>; readonly responses: ServerResponse[] }> {
  const responses: ServerResponse[] = [];
  const server = createServer((_, response) => responses.push(response));
  boundIdleConnections(server, most);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());
  const open = async (): Promise<Client> => {
    const accepted = new Promise((done) => server.once("connection", done));
    const client = { socket: connect((server.address() as AddressInfo).port, "127.0.0.1"), isClosed: false };
    client.socket
      .on("error", () => undefined)
      .on("close", () => (client.isClosed = true))
      .resume();
    onTestFinished(() => void client.socket.destroy());
    await accepted;
    return client;
  };
  return { open, responses };
}

const ask = (client: Client): void => void client.socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");

test("hostile 04: of connections that do nothing the longest idle is closed for the next; half a head is nothing", async () => {
  const { open } = await serve(2);
  const first = await open();
  first.socket.write("GET / HTTP/1.1\r\nhost:");
  const [second, third] = [await open(), await open()];

  await expect.poll(() => first.isClosed).toBe(true);
  expect([second.isClosed, third.isClosed]).toEqual([false, false]);
});

test("a connection with a request on it is not idle, and is again when every answer on it is over", async () => {
  const { open, responses } = await serve(1);
  const busy = await open();
  ask(busy);
  ask(busy);
  await expect.poll(() => responses.length).toBeGreaterThan(0);
  const others = [await open(), await open()];
  await expect.poll(() => others[0]?.isClosed).toBe(true);
  expect(busy.isClosed).toBe(false);

  responses[0]?.end();
  await expect.poll(() => responses.length).toBe(2);
  expect(others[1]?.isClosed).toBe(false);
  responses[1]?.end();
  // It is the second that is idle now: the other has been for longer.
  await expect.poll(() => others[1]?.isClosed).toBe(true);
  expect(busy.isClosed).toBe(false);
});
