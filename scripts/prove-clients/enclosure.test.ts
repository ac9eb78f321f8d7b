import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, describe, expect, test } from "vitest";
import { type Ended, findEnclosure } from "./enclosure.ts";
import { startRecorder } from "./recorder.ts";

/** A server that answers everything with these words. */
async function startServer(words: string): Promise<{ readonly server: Server; readonly url: string }> {
  const server = createServer((_, response) => void response.end(words));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const [proxy, other] = [await startServer("the proxy"), await startServer("another service")];
const recorder = await startRecorder(proxy.url);
const enclosure = await findEnclosure(recorder.socketPath, recorder.port);
afterAll(async () => {
  await recorder.stop();
  for (const { server } of [proxy, other]) server.close();
});

const run = (script: string, timeoutMs = patience(60_000)): Promise<Ended> =>
  enclosure.run({ program: process.execPath, argv: ["--eval", script], folder: tmpdir(), environment: {}, timeoutMs });
const ask = (url: string): string =>
  `fetch(${JSON.stringify(url)}).then((answer) => answer.text()).then(console.log, () => process.exit(3))`;

describe.runIf(enclosure.isEnclosed)(`clients that are enclosed: ${enclosure.description}`, () => {
  test("reach the proxy, by the recorder, which knows them by their key", async () => {
    const script = `fetch("${recorder.url}/v1/messages", { method: "POST", headers: { "x-api-key": "sk-1" } }).then(async (answer) => console.log(await answer.text()))`;

    expect(await run(script)).toEqual({ status: 0, text: "the proxy\n", isOutOfTime: false });
    expect(recorder.of("sk-1")).toEqual({ answers: 1, asked: ["POST /v1/messages"], statuses: [200], pings: 0 });
  });

  test("reach nothing else of this machine", async () => {
    expect(await run(ask(other.url))).toMatchObject({ status: 3, text: "" });
  });
});

test("a program whose time is over is ended, with those that it began", async () => {
  const script = `require("node:child_process").spawn(process.execPath, ["--eval", "setInterval(() => undefined, 1000)"], { stdio: "inherit" }); setInterval(() => undefined, 1000)`;

  // It ends only when nobody has its standard output any more.
  expect(await run(script, 500)).toMatchObject({ status: null, isOutOfTime: true });
});

test.runIf(enclosure.isEnclosed)("what a program leaves behind ends with it", async () => {
  const script = `require("node:child_process").spawn(process.execPath, ["--eval", "setInterval(() => undefined, 1000)"], { stdio: "inherit", detached: true }).unref()`;

  expect(await run(script)).toEqual({ status: 0, text: "", isOutOfTime: false });
});
