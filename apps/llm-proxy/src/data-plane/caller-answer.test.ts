import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { CallerAnswer } from "./caller-answer.ts";

/** An answer to a caller that has asked and reads nothing until it is told. */
async function startAnswer() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const caller = connect((server.address() as AddressInfo).port, "127.0.0.1");
  caller.pause();
  onTestFinished(() => {
    caller.destroy();
    server.close();
  });
  caller.write("GET / HTTP/1.1\r\nhost: here\r\n\r\n");
  const [, response] = (await once(server, "request")) as [unknown, ServerResponse];
  const answer = new CallerAnswer(response);
  answer.beginStream(200, { "content-type": "text/event-stream" });
  return { answer, response, caller };
}

const FLOW = { pause: () => undefined, resume: () => undefined };
const PING = ": ping\n\n";

test("a ping is sent to who reads, and counts as sent; none is piled up for who does not", async () => {
  const { answer, response, caller } = await startAnswer();
  await expect.poll(() => response.writableLength).toBe(0);
  answer.sendPing(PING);
  const sent = answer.sends;
  // More than the system's buffers hold.
  answer.send([Buffer.alloc(64 * 1024 * 1024)], FLOW);
  const waiting = response.writableLength;
  answer.sendPing(PING);

  expect([sent, answer.sends, waiting > 0]).toEqual([1, 2, true]);
  expect(response.writableLength).toBe(waiting);

  caller.resume();
  await expect.poll(() => response.writableLength).toBe(0);
  answer.sendPing(PING);
  expect(answer.sends).toBe(3);
});

test("nothing follows the end of an answer, nor goes to a caller that left", async () => {
  const { answer, caller } = await startAnswer();
  answer.end();
  answer.sendPing(PING);
  caller.destroy();
  answer.sendPing(PING);

  expect(answer.sends).toBe(0);
});
