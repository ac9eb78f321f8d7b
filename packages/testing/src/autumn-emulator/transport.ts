import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { TransportFault } from "./faults.ts";
import type { WireAnswer } from "./wire.ts";

const DRIPS = 100_000;

/** Sends an answer as it is, or as the fault spoils it on its way. Resolves when nothing more will be sent. */
export async function sendAnswer(response: ServerResponse, answer: WireAnswer, fault?: TransportFault): Promise<void> {
  const text = answer.body === undefined ? "" : JSON.stringify(answer.body);
  const half = Math.max(1, Math.floor(text.length / 2));
  const writeHead = (length = Buffer.byteLength(text)): void =>
    void response.writeHead(answer.status, { "content-type": "application/json", "content-length": length, ...answer.headers });
  switch (fault?.kind) {
    case "silent":
      return;
    case "reset":
      return void response.socket?.resetAndDestroy();
    case "page":
      return void response.writeHead(fault.status, { "content-type": "text/html" }).end("<html><h1>Bad gateway</h1></html>");
    case "cut_body":
      writeHead();
      // Only when the half is on its way: destroyed at once, not even the status would arrive.
      response.write(text.slice(0, half), () => response.socket?.destroy());
      return;
    case "stall_body":
      writeHead();
      return void response.write(text.slice(0, half));
    case "drip":
      writeHead(text.length + DRIPS);
      response.write(text.slice(0, half));
      for (let byte = 0; byte < DRIPS && !response.destroyed; byte += 1) {
        await delay(fault.everyMs, undefined, { ref: false });
        response.write(" ");
      }
      return;
    case "endless":
      response.writeHead(answer.status, { "content-type": "application/json" });
      return pipeline(Readable.from(blanksWithoutEnd()), response).catch(() => undefined);
    case "slow":
      await delay(fault.afterMs, undefined, { ref: false });
      if (response.destroyed) return;
      break;
    case undefined:
  }
  response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
  response.end(text === "" ? undefined : text);
}

function* blanksWithoutEnd(): Generator<string> {
  for (;;) yield " ".repeat(65_536);
}
