import { createServer, type ServerResponse } from "node:http";
import { Link } from "./link.ts";

/**
 * A provider for the proof: answers as the caller's `metadata.user_id` says. `whole:MB` and `stream:MB` are answers of that
 * size, as fast as they are read and as the link gives, whose bytes a second are the argument; everything else is a small one. Reports its
 * port to the process that forked it.
 */
const link = new Link(Number(process.argv[2] ?? Number.POSITIVE_INFINITY));
/** A timer for each would be what is measured. */
const EVENTS_AT_ONCE = 8;
const PIECE = "x".repeat(64 * 1024);
const USAGE = { input_tokens: 10, output_tokens: 10 };
const head = { id: "msg_proof", type: "message", role: "assistant", model: "claude-haiku-4-5", stop_reason: "end_turn", usage: USAGE };

const CHAT = JSON.stringify({
  ...{ id: "chatcmpl-proof", object: "chat.completion", model: "gpt-4o-mini" },
  choices: [{ index: 0, message: { role: "assistant", content: "Hello." }, finish_reason: "stop" }],
  usage: { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 },
});

async function write(response: ServerResponse, text: string): Promise<void> {
  await link.take(text.length);
  if (response.write(text) || response.destroyed) return;
  await new Promise<void>((done) => {
    const end = (): void => {
      response.off("drain", end).off("close", end);
      done();
    };
    response.on("drain", end).on("close", end);
  });
}

async function repeat(response: ServerResponse, megabytes: number, piece: string): Promise<void> {
  for (let sent = 0; sent < megabytes * 2 ** 20 && !response.destroyed; sent += piece.length) await write(response, piece);
}

async function sendWhole(response: ServerResponse, megabytes: number): Promise<void> {
  response.writeHead(200, { "content-type": "application/json" });
  await write(response, `${JSON.stringify(head).slice(0, -1)},"content":[{"type":"text","text":"`);
  await repeat(response, megabytes, PIECE);
  response.end('"}]}');
}

const event = (data: { readonly type: string } & Record<string, unknown>): string =>
  `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;

async function sendStream(response: ServerResponse, megabytes: number): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream" });
  await write(response, event({ type: "message_start", message: { ...head, content: [], stop_reason: null } }));
  await repeat(
    response,
    megabytes,
    event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: PIECE.slice(0, 4_000) } }).repeat(EVENTS_AT_ONCE),
  );
  await write(response, event({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: USAGE }));
  response.end(event({ type: "message_stop" }));
}

const server = createServer((request, response) => {
  if (request.url?.includes("chat"))
    return void request.resume().on("end", () => response.writeHead(200, { "content-type": "application/json" }).end(CHAT));
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { metadata } = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { readonly metadata?: { readonly user_id?: string } };
    const [kind, megabytes] = (metadata?.user_id ?? "").split(":");
    if (kind === "whole") return void sendWhole(response, Number(megabytes));
    if (kind === "stream") return void sendStream(response, Number(megabytes));
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ ...head, content: [{ type: "text", text: "Hello." }] }));
  });
});
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as { readonly port: number }).port }));
process.once("SIGTERM", () => process.exit(0));
