import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import { expect, test, vi } from "vitest";
import { listen } from "./listen.ts";

test("a taken port is named together with the variable that moves it", async () => {
  const first = await listen(createServer(), { port: 0, host: "127.0.0.1", portVariable: "GATEWAY_PORT" });

  const second = listen(createServer(), { port: first.port, host: "127.0.0.1", portVariable: "GATEWAY_PORT" });

  await expect(second).rejects.toMatchObject({
    code: "port_in_use",
    message: `Port ${first.port} is taken by another program; set GATEWAY_PORT to another one.`,
  });
  await first.stop();
});

test("hostile 7: as many connections may wait to be accepted as Linux allows, not Node's 511", async () => {
  const server = createServer();
  const asked = vi.spyOn(server, "listen");
  const listener = await listen(server, { port: 0, host: "127.0.0.1", portVariable: "PORT" });

  expect(asked).toHaveBeenCalledWith(expect.objectContaining({ host: "127.0.0.1", backlog: 4_096 }), expect.any(Function));
  await listener.stop();
});

test("stop lets a request in flight end and refuses new ones", async () => {
  const released = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const server = createServer(async (_, response) => {
    entered.resolve();
    await released.promise;
    response.end("done");
  });
  const listener = await listen(server, { port: 0, host: "127.0.0.1", portVariable: "PORT" });
  const answer = fetch(`http://127.0.0.1:${listener.port}/`).then((response) => response.text());
  await entered.promise;

  const stopped = listener.stop();
  released.resolve();

  expect(await answer).toBe("done");
  await stopped;
  await expect(fetch(`http://127.0.0.1:${listener.port}/`)).rejects.toThrow("fetch failed");
});

test("stop cuts a request that does not end within the drain time-out", async () => {
  const listener = await listen(
    createServer(() => undefined),
    { port: 0, host: "127.0.0.1", portVariable: "PORT", drainTimeoutMs: 50 },
  );
  const hanging = fetch(`http://127.0.0.1:${listener.port}/`).catch(() => "cut");

  await listener.stop();

  expect(await hanging).toBe("cut");
});

test("a request that comes on an open connection soon after stop is answered, and told that it is the last", async () => {
  const server = createServer((_, response) => response.end("answered"));
  const listener = await listen(server, { port: 0, host: "127.0.0.1", portVariable: "PORT", idleGraceMs: 10_000 });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async (): Promise<IncomingMessage> => {
    const [response] = (await once(request({ port: listener.port, host: "127.0.0.1", agent }).end(), "response")) as [IncomingMessage];
    await response.resume().toArray();
    return response;
  };
  const before = await ask();

  const stopped = listener.stop();
  const after = await ask();
  await stopped;

  expect([before.headers.connection, after.headers.connection]).toEqual(["keep-alive", "close"]);
});
