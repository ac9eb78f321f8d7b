import { randomUUIDv7 } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { safeListener } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import { ALIVE, checkReadiness } from "../health.ts";
import { discardRest } from "../http/read-body.ts";
import type { Dialect } from "../dialects/dialect.ts";
import { dialectOfCaller } from "../providers/spoken-dialects.ts";
import { answerRequest } from "./answer.ts";
import { authenticate } from "./authenticate.ts";
import type { Call } from "./call.ts";
import { countTokens } from "./count-tokens.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { asAppError, identityHeaders, sendError } from "./error-response.ts";
import { listModels, showModel } from "./models.ts";
import { type DataPlaneRoute, type NotServed, queryOf, ROUTE_METHODS, routeOfPath } from "./paths.ts";

export interface DataPlane {
  readonly server: Server;
  /** Resolves when no request is being handled; each one's settlement included. */
  idle(): Promise<void>;
}

/** Of each connection, in each direction: what a caller does not read is not piled up here. */
const BUFFER_BYTES = 16 * 1024;

/**
 * A connection that says nothing, or does not end its head, is closed; so is one that is idle between two requests. How a
 * body has to come is `read-body.ts`'; Node's own limit only lies behind it.
 */
const CONNECTION_LIMITS = {
  noDelay: true,
  highWaterMark: BUFFER_BYTES,
  headersTimeout: 20_000,
  // Those that are too late are closed at one go: the shorter the interval, the fewer they are.
  connectionsCheckingInterval: 500,
  keepAliveTimeout: 75_000,
  requestTimeout: 3_600_000,
} as const;

/** The data plane: the LLM dialects, the model list and health. Everything but health and `/` asks for a virtual key. */
export function createDataPlane(deps: DataPlaneDeps): DataPlane {
  const running = new Set<Promise<void>>();
  const track = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const handled = handle(deps, request, response);
    running.add(handled);
    await handled.finally(() => running.delete(handled));
  };
  const server = createServer(
    CONNECTION_LIMITS,
    safeListener(track, (error) => deps.logger.error({ error: String(error) }, "request.unhandled")),
  );
  return {
    server,
    idle: async () => {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** Never rejects. */
async function handle(deps: DataPlaneDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  // In the order of time, so that every index of it grows at one end, here and in the ledger.
  const requestId = randomUUIDv7();
  const target = request.url ?? "/";
  const route = routeOfPath(target);
  const dialect = dialectOf(route, request);
  try {
    if (route.kind === "answer" && isWebSocket(request)) {
      const error = new AppError("websocket_not_served", "This route is not served over a WebSocket.");
      // The bytes after the handshake are no requests.
      sendError(response, dialect, requestId, error, { upgrade: "HTTP/1.1", connection: "close" });
      return discardRest(request);
    }
    const allowed = ROUTE_METHODS[route.kind];
    if (allowed.length > 0 && !allowed.includes(request.method ?? "")) {
      const error = new AppError(
        "method_not_allowed",
        `${target.replace(/\?.*$/s, "").slice(0, 128)} does not take ${request.method ?? "this method"}.`,
      );
      sendError(response, dialect, requestId, error, { allow: allowed.join(", ") });
      return discardRest(request);
    }
    dialect.requireQuery?.(queryOf(target), "upstreamPath" in route ? route : undefined);
    deps.heldAnswers.send(response);
    const upstreamPath = "upstreamPath" in route ? `${route.upstreamPath}${queryOf(target)}` : "";
    await answer(deps, route, {
      request,
      response,
      requestId,
      dialect,
      upstreamPath,
      inPath: "inPath" in route ? route.inPath : undefined,
      startedAt: new Date(),
      startedAtMs: performance.now(),
    });
  } catch (error) {
    refuse(deps, { request, response, requestId, dialect }, asAppError(error));
  }
}

async function answer(deps: DataPlaneDeps, route: DataPlaneRoute, call: Call): Promise<void> {
  switch (route.kind) {
    case "answer":
      return answerRequest(deps, call);
    case "count_tokens":
      return countTokens(deps, call);
    case "models":
    case "model":
      return sendJson(call, 200, await readModels(deps, call, route.kind === "model" ? route.id : undefined));
    case "liveness":
      return sendJson(call, 200, ALIVE);
    case "readiness": {
      const { status, body } = await checkReadiness(deps);
      return sendJson(call, status, body);
    }
    case "root":
      return sendJson(call, 200, { status: "ok" });
    case "not_served":
      throw new AppError("not_found", notServedFor(route, call.request).why);
    case "management":
      if (deps.manage) return deps.manage(call.request, call.response);
      // Where that port is, is no stranger's business.
      throw new AppError(
        "not_found",
        "Management routes are not served here, but on the management port (LLM_PROXY_ADMIN_PORT), with the master key.",
      );
    default:
      throw new AppError("not_found", "There is no such route on the data plane.");
  }
}

/** What the caller may use: one model, or the list. */
async function readModels(deps: DataPlaneDeps, { request, dialect }: Call, id: string | undefined): Promise<unknown> {
  const caller = await authenticate(deps, request, "models");
  const { current } = deps.catalogue;
  const models = current.modelsFor(caller);
  if (id !== undefined) return showModel(models, caller, dialect, id);
  return listModels(models, caller, { dialect, query: new URLSearchParams(queryOf(request.url ?? "")), translates: current.translates });
}

function refuse(deps: DataPlaneDeps, call: Omit<Call, "startedAt" | "startedAtMs" | "upstreamPath" | "inPath">, error: AppError): void {
  const { request, response, requestId, dialect } = call;
  if (error.status >= 500) {
    deps.logger.error({ request: requestId, code: error.code, error: String(error.cause ?? error) }, "request.failed");
  }
  if (response.headersSent) return void response.destroy();
  if (response.destroyed) return;
  sendError(response, dialect, requestId, error);
  discardRest(request);
}

function sendJson({ response, requestId }: Call, status: number, body: unknown): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, { ...identityHeaders(requestId), "content-type": "application/json", "content-length": bytes.length });
  response.end(bytes);
}

function isWebSocket({ method, headers }: IncomingMessage): boolean {
  return method === "GET" && headers.upgrade?.toLowerCase() === "websocket";
}

/** Of several dialects that share a path the one that the caller speaks. */
function notServedFor({ refusals }: { readonly refusals: readonly [NotServed, ...NotServed[]] }, { headers }: IncomingMessage): NotServed {
  return refusals.find(({ dialect }) => dialect === dialectOfCaller(headers)) ?? refusals[0];
}

function dialectOf(route: DataPlaneRoute, request: IncomingMessage): Dialect {
  if (route.kind === "not_served") return notServedFor(route, request).dialect;
  return ("dialect" in route ? route.dialect : undefined) ?? dialectOfCaller(request.headers);
}
