import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { anthropicWire, countInputTokens } from "./anthropic-wire.ts";
import { chooseAnswer, fitAnswer, type Answer } from "./answer.ts";
import { ClientGone, Delivery } from "./delivery.ts";
import { type Dialect, newId, type WireAnswer, type WireError } from "./dialect.ts";
import { Journal, type JournalEntry, type ProviderRoute } from "./journal.ts";
import { embeddingsWire } from "./embeddings-wire.ts";
import { countGeminiTokens, geminiPath, geminiWire } from "./gemini-wire.ts";
import { openaiWire } from "./openai-wire.ts";
import { responsesWire } from "./responses-wire.ts";
import { type Fault, type RequestMatcher, type Script, ScriptBook } from "./script.ts";
import { patience } from "../test-patience.ts";

interface ProviderStandInOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** The provider key that requests must carry (`x-api-key`, `x-goog-api-key` or Bearer). Default: any, but one there must be. */
  readonly apiKey?: string;
  /** Pause between two SSE frames. Default 0. */
  readonly frameGapMs?: number;
  /** How many requests the journal keeps, bodies included. Default 10,000. */
  readonly journalSize?: number;
}

/** A provider on one port that speaks Anthropic Messages and OpenAI's chat completions, responses and embeddings, and Gemini. */
export interface ProviderStandIn {
  /** Without a trailing slash and without `/v1`. */
  readonly url: string;
  readonly port: number;
  /** Every request that came, oldest first. */
  readonly requests: readonly JournalEntry[];
  /** Answers every matching request as scripted, until the returned function is called. Newer rules win. */
  script(matches: RequestMatcher, script: Script): () => void;
  /** Answers the next requests for an answer as scripted, one each, before any rule. */
  scriptNext(...scripts: readonly Script[]): void;
  /** Fails the next requests for an answer, one each. */
  failNext(...faults: readonly Fault[]): void;
  /** Forgets scripts and queued faults; the journal stays. */
  clearScripts(): void;
  /** The first request, past or future, that matches. Rejects after the deadline; default 30 s on the reference machine. */
  waitFor(matches: RequestMatcher, timeoutMs?: number): Promise<JournalEntry>;
  /** Cuts every connection and frees the port. Idempotent. */
  stop(): Promise<void>;
}

/** Starts the stand-in; rejects if the port is taken. */
export async function startProviderStandIn(options: ProviderStandInOptions = {}): Promise<ProviderStandIn> {
  const journal = new Journal(options.journalSize ?? 10_000);
  const book = new ScriptBook();
  const server = createServer((request, response) => {
    void handle(request, response, { journal, book, options }).catch((error: unknown) => {
      if (!(error instanceof ClientGone)) response.destroy(error as Error);
    });
  });
  // A proxy keeps connections open; closing an idle one first would race with its next request.
  server.keepAliveTimeout = 120_000;
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((done, fail) => server.once("error", fail).listen(options.port ?? 0, host, done));
  const { port } = server.address() as AddressInfo;
  let stopping: Promise<void> | undefined;
  return {
    url: `http://${host}:${port}`,
    port,
    requests: journal.entries,
    script: (matches, script) => book.addRule(matches, script),
    scriptNext: (...scripts) => book.enqueue(...scripts),
    failNext: (...faults) => book.enqueue(...faults.map((fault) => ({ fault }))),
    clearScripts: () => book.clear(),
    waitFor: (matches, timeoutMs = patience(30_000)) => journal.waitFor(matches, timeoutMs),
    stop: () => {
      stopping ??= new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      });
      return stopping;
    },
  };
}

interface Context {
  readonly journal: Journal;
  readonly book: ScriptBook;
  readonly options: ProviderStandInOptions;
}

async function handle(request: IncomingMessage, response: ServerResponse, { journal, book, options }: Context): Promise<void> {
  const entry = await readRequest(request, journal.nextSequence());
  journal.add(entry);
  const dialect = dialectOf(entry);
  const requestId = newId("req_01", 22);
  const refusal = findRefusal(entry, dialect, options);
  const script = refusal ? {} : { ...(options.frameGapMs !== undefined && { frameGapMs: options.frameGapMs }), ...book.take(entry) };
  const delivery = new Delivery(request, response, entry, journal, script);
  await delivery.pause(script.headersDelayMs ?? 0);
  if (refusal) return sendError(delivery, dialect, requestId, refusal);
  if (script.fault && (await failBeforeAnswer(script.fault, delivery, dialect, requestId))) return;
  const headers = { ...dialect.responseHeaders(requestId), "content-type": "application/json" };
  if (entry.route === "models") return delivery.sendWhole(200, headers, JSON.stringify(modelList(dialect)));
  const body = entry.json as Readonly<Record<string, unknown>>;
  if (entry.route === "count_tokens") return delivery.sendWhole(200, headers, JSON.stringify(countOf(dialect, body)));
  if (script.fault?.kind === "raw") {
    const { status = 200, headers: own, pieces, end = "clean" } = script.fault;
    return delivery.sendPieces(status, { ...headers, ...own }, pieces, end);
  }
  const answer = buildAnswer(entry, dialect, body, script);
  if (script.fault?.kind === "huge") return delivery.sendPieces(200, headers, hugeBody(dialect, answer, script.fault.bytes), "clean");
  if (entry.stream && script.fault?.kind !== "not_a_stream") return sendStream(delivery, dialect, headers, answer, script.fault);
  const text = JSON.stringify(dialect.body(answer));
  if (script.fault?.kind === "cut_mid_stream") return delivery.sendHalf(headers, text);
  delivery.sendWhole(200, headers, script.fault?.kind === "invalid_json" ? text.slice(0, text.length >> 1) : text);
}

async function readRequest(request: IncomingMessage, sequence: number): Promise<JournalEntry> {
  const startedAtMs = Date.now();
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const json = parseJson(body);
  const fields = (typeof json === "object" && json !== null ? json : {}) as { model?: unknown; stream?: unknown };
  const path = request.url ?? "/";
  const inPath = geminiPath(path);
  return {
    sequence,
    method: request.method ?? "GET",
    path,
    route: routeOf(request.method ?? "GET", path.replace(/\?.*$/s, "")),
    headers: request.headers,
    body,
    json,
    model: inPath?.model ?? (typeof fields.model === "string" ? fields.model : undefined),
    stream: inPath ? inPath.isStream : fields.stream === true,
    startedAtMs,
    outcome: "pending",
    status: undefined,
    responseId: undefined,
    usage: undefined,
    framesSent: 0,
    bytesSent: 0,
    endedAtMs: undefined,
  };
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

function routeOf(method: string, path: string): ProviderRoute {
  if (method === "POST" && path === "/v1/messages") return "messages";
  if (method === "POST" && path === "/v1/messages/count_tokens") return "count_tokens";
  if (method === "POST" && path === "/v1/chat/completions") return "chat_completions";
  if (method === "POST" && path === "/v1/responses") return "responses";
  if (method === "POST" && path === "/v1/embeddings") return "embeddings";
  const inPath = geminiPath(path);
  if (method === "POST" && inPath) return inPath.isCount ? "count_tokens" : "generate_content";
  return method === "GET" && path === "/v1/models" ? "models" : "unknown";
}

function dialectOf(entry: JournalEntry): Dialect {
  if (geminiPath(entry.path)) return geminiWire;
  if (entry.route === "chat_completions") return openaiWire;
  if (entry.route === "responses") return responsesWire;
  if (entry.route === "embeddings") return embeddingsWire;
  if (entry.route === "messages" || entry.route === "count_tokens") return anthropicWire;
  return entry.headers["anthropic-version"] === undefined ? openaiWire : anthropicWire;
}

/** What the provider refuses before it looks at a script. */
function findRefusal(entry: JournalEntry, dialect: Dialect, options: ProviderStandInOptions): WireError | undefined {
  const { authorization, "x-api-key": header, "x-goog-api-key": googleHeader } = entry.headers;
  const key = header ?? googleHeader?.toString() ?? authorization?.replace(/^Bearer\s+/i, "");
  if (!key || (options.apiKey !== undefined && key !== options.apiKey)) {
    return {
      status: 401,
      type: dialect.errorType(401),
      message: dialect === anthropicWire ? "invalid x-api-key" : "Incorrect API key provided.",
    };
  }
  if (entry.route === "unknown") return { status: 404, type: dialect.errorType(404), message: `Not found: ${entry.method} ${entry.path}` };
  if (entry.route === "models") return undefined;
  if (typeof entry.json !== "object" || entry.json === null || Array.isArray(entry.json)) {
    return { status: 400, type: "invalid_request_error", message: "The request body is not valid JSON." };
  }
  return dialect.validate(entry.json as Readonly<Record<string, unknown>>, entry);
}

function sendError(
  delivery: Delivery,
  dialect: Dialect,
  requestId: string,
  error: WireError,
  headers: Readonly<Record<string, string>> = {},
): void {
  const all = { ...dialect.responseHeaders(requestId), "content-type": "application/json", ...headers };
  delivery.sendWhole(error.status, all, JSON.stringify(dialect.errorBody(error, requestId)));
}

/** True when the fault took the place of the answer. */
async function failBeforeAnswer(fault: Fault, delivery: Delivery, dialect: Dialect, requestId: string): Promise<boolean> {
  if (fault.kind === "hang_before_headers") await delivery.hang();
  if (fault.kind === "cut_before_headers") delivery.cut();
  if (fault.kind === "status") {
    const { status, message = `Scripted failure ${status}.`, type = dialect.errorType(status), retryAfterSeconds } = fault;
    const headers = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
    sendError(delivery, dialect, requestId, { status, type, message }, headers);
  }
  return fault.kind === "status" || fault.kind === "cut_before_headers";
}

function buildAnswer(entry: JournalEntry, dialect: Dialect, request: Readonly<Record<string, unknown>>, script: Script): WireAnswer {
  const answer = scriptedAnswer(dialect, request, script);
  const usage = { ...dialect.countUsage(request, answer), ...script.usage };
  entry.usage = usage;
  entry.responseId = script.responseId ?? dialect.newResponseId();
  const showUsage = script.fault?.kind !== "missing_usage";
  return { responseId: entry.responseId, model: entry.model ?? "", answer, usage, showUsage, request };
}

function scriptedAnswer(dialect: Dialect, request: Readonly<Record<string, unknown>>, script: Script): Answer {
  const conversation = dialect.readConversation(request);
  const text = script.text ?? (script.answerBytes === undefined ? undefined : "x".repeat(script.answerBytes));
  const chosen =
    text === undefined ? chooseAnswer(conversation) : fitAnswer(text, script.text === undefined ? undefined : conversation.maxOutputTokens);
  const thinking = script.thinking === undefined ? [] : [{ type: "thinking", text: script.thinking } as const];
  if (!script.toolUse) return { ...chosen, blocks: [...thinking, ...chosen.blocks] };
  return { blocks: [...thinking, ...chosen.blocks, { type: "tool_use", ...script.toolUse }], stop: "tool_use" };
}

const HUGE_PIECE_BYTES = 64 * 1024;

/** The answer as JSON text, with a text of so many bytes in it. */
function* hugeBody(dialect: Dialect, answer: WireAnswer, bytes: number): Iterable<string> {
  const mark = "huge-text";
  const [before = "", after = ""] = JSON.stringify(
    dialect.body({ ...answer, answer: { ...answer.answer, blocks: [{ type: "text", text: mark }] } }),
  ).split(mark);
  yield before;
  const piece = "x".repeat(HUGE_PIECE_BYTES);
  for (let sent = 0; sent < bytes; sent += HUGE_PIECE_BYTES) yield piece.slice(0, bytes - sent);
  yield after;
}

async function sendStream(
  delivery: Delivery,
  dialect: Dialect,
  headers: Readonly<Record<string, string>>,
  answer: WireAnswer,
  fault?: Fault,
): Promise<void> {
  delivery.beginStream(headers);
  const breakAfter = fault && "afterFrames" in fault ? fault.afterFrames : Infinity;
  const requestId = headers["request-id"] ?? "";
  for (const frame of dialect.frames(answer)) {
    if (delivery.entry.framesSent >= breakAfter) return breakStream(delivery, dialect, requestId, frame, fault);
    if (fault?.kind === "invalid_json" && delivery.entry.framesSent === 1) await delivery.sendFrame('data: {"type": "broken\n\n');
    await delivery.sendFrame(frame);
  }
  await delivery.endStream("completed");
}

async function breakStream(
  delivery: Delivery,
  dialect: Dialect,
  requestId: string,
  frame: string,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.kind === "hang_mid_stream") await delivery.hang();
  if (fault?.kind === "cut_mid_stream") return delivery.cutInsideFrame(frame);
  if (fault?.kind === "error_event") {
    const { type = dialect.errorType(529), message = "Overloaded" } = fault;
    await delivery.sendFrame(dialect.errorFrame({ status: 529, type, message }, requestId));
  }
  await delivery.endStream("broken");
}

function countOf(dialect: Dialect, body: Readonly<Record<string, unknown>>): unknown {
  return dialect === geminiWire ? { totalTokens: countGeminiTokens(body) } : { input_tokens: countInputTokens(body) };
}

/** A short list; any other model name of the right form is answered as well. */
function modelList(dialect: Dialect): unknown {
  if (dialect === openaiWire) {
    return {
      object: "list",
      data: ["gpt-5.4", "gpt-5.4-nano"].map((id) => ({ id, object: "model", created: 1_772_668_800, owned_by: "openai" })),
    };
  }
  const ids = ["claude-opus-5-5", "claude-sonnet-5", "claude-haiku-4-5"];
  const data = ids.map((id) => ({ type: "model", id, display_name: id, created_at: "2026-01-01T00:00:00Z" }));
  return { data, has_more: false, first_id: ids[0], last_id: ids.at(-1) };
}
