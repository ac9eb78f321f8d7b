import { randomUUIDv7 } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { DatabaseClient } from "@proliferate/db";
import { isObserver, type Logger, type MetricsPage, requestTarget, safeListener, withoutTrailingSlashes } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Grace } from "../grace/grace.ts";
import { ALIVE, checkReadiness } from "../health.ts";
import { credentialOf, isSameSecret } from "../http/credential.ts";
import { readBody } from "../http/read-body.ts";
import { identityHeaders } from "../data-plane/error-response.ts";
import { auditRoutes, runAudited } from "./audit.ts";
import { asAppError, type ManagementAnswer, managementError, ValidationError } from "./error-response.ts";
import { budgetRoutes } from "./budget-routes.ts";
import { keyRoutes } from "./key-routes.ts";
import { limitRoutes } from "./limit-routes.ts";
import { memberRoutes } from "./member-routes.ts";
import { modelRoutes } from "./model-routes.ts";
import { matchesPath, type Route } from "./route.ts";
import { requireStorable } from "./storable-input.ts";
import { spendRoutes } from "./spend-routes.ts";
import { spendSumRoutes } from "./spend-sum-routes.ts";
import { userOfKey } from "./team-admin.ts";
import { teamRoutes } from "./team-routes.ts";
import { userRoutes } from "./user-routes.ts";
import { refuseUnserved } from "./unserved-routes.ts";

interface ManagementDeps {
  readonly db: DatabaseClient;
  /** Whose models are shown: those of everybody. */
  readonly catalogue: Pick<Catalogue, "current">;
  readonly logger: Logger;
  readonly masterKey: string;
  /** Served to this machine, the master key and `metricsToken`; undefined: nowhere. */
  readonly metrics?: MetricsPage | undefined;
  readonly metricsToken?: string | undefined;
  /** What readiness says of the way out. */
  readonly shutdown: { readonly isDraining: boolean };
  readonly grace: Pick<Grace, "isAbsent" | "isOpen"> | undefined;
  /** Told of each change, once it is made. Default: nobody is. */
  readonly onEdited?: () => void;
}

const BODY_LIMIT_BYTES = 1024 * 1024;

/** Served without a key. */
const HEALTH_PATHS = new Set(["/health/liveliness", "/health/liveness", "/health/readiness"]);

/** Answers one request of the management API: LiteLLM's shapes, Bearer master key. */
type ManagementHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Every route that takes the master key; some take keys of admins of teams, too. */
export function managementRoutes({ db, catalogue }: Pick<ManagementDeps, "db" | "catalogue">): readonly Route[] {
  return [
    ...keyRoutes(db),
    ...teamRoutes(db),
    ...memberRoutes(db),
    ...userRoutes(db),
    ...budgetRoutes(db),
    ...limitRoutes(db),
    ...modelRoutes(catalogue),
    ...spendRoutes(db),
    ...spendSumRoutes(db),
    ...auditRoutes(db),
  ];
}

/** The management API, without a socket: it has one of its own, and on demand the data plane hands it what is its (`LLM_PROXY_MANAGEMENT`). */
export function createManagementHandler(deps: ManagementDeps): ManagementHandler {
  const routesOn = (db: DatabaseClient): readonly Route[] => managementRoutes({ db, catalogue: deps.catalogue });
  return async (request, response) => {
    if (isMetricsRequest(deps, request)) return sendMetrics(deps, response);
    const requestId = randomUUIDv7();
    const result = await answer(deps, routesOn, request, requestId).catch((error: unknown) => {
      logFailure(deps.logger, request, error);
      return managementError(error);
    });
    send(response, { ...result, headers: { ...identityHeaders(requestId), ...result.headers } });
  };
}

/** The management API on a listener of its own. */
export function createManagementServer(handle: ManagementHandler, logger: Logger): Server {
  return createServer(safeListener(handle, (error) => logger.error({ error: String(error) }, "management.answer_failed")));
}

async function answer(
  deps: ManagementDeps,
  routesOn: (db: DatabaseClient) => readonly Route[],
  request: IncomingMessage,
  requestId: string,
): Promise<ManagementAnswer> {
  const target = requestTarget(request.url);
  const path = withoutTrailingSlashes(target.path);
  if (HEALTH_PATHS.has(path)) return path.endsWith("readiness") ? checkReadiness(deps) : { status: 200, body: ALIVE };
  const userId = await requireManager(deps, request);
  const { method = "GET" } = request;
  const candidates = routesOn(deps.db).flatMap((route, index) => {
    const names = matchesPath(route.path, path);
    return names === undefined ? [] : [{ ...route, names, index }];
  });
  const route = candidates.find((candidate) => candidate.method === method);
  if (!route) {
    refuseUnserved(method, path);
    if (candidates.length > 0) return methodNotAllowed(path, candidates);
    throw new AppError("not_found", `The management API has no route ${path.slice(0, 128)}.`);
  }
  if (userId !== undefined && route.teamAdmin === undefined) throw onlyProxyAdmin(path);
  const body = method === "POST" ? await readJson(request) : {};
  const called = { body, query: target.query, names: route.names };
  // Before anything is looked up by what was sent.
  for (const sent of [body, Object.fromEntries(target.query), route.names]) requireStorable(sent);
  const input = userId === undefined || route.teamAdmin === undefined ? called : await route.teamAdmin(deps.db, called, userId);
  try {
    const caller = { userId, requestId, request };
    return { status: 200, body: await runAudited(deps.db, routesOn, { index: route.index, input, caller }) };
  } finally {
    // Also one that failed: it may have changed something before.
    if (route.method !== "GET") deps.onEdited?.();
  }
}

/** Also true of `/metrics` with the master key, which opens everything here. */
function isMetricsRequest({ metrics, metricsToken, masterKey }: ManagementDeps, request: IncomingMessage): boolean {
  if (metrics === undefined || request.method !== "GET" || requestTarget(request.url).path !== "/metrics") return false;
  const { headers, socket } = request;
  return isObserver({ headers, remoteAddress: socket.remoteAddress }, metricsToken) || isSameSecret(credentialOf(headers) ?? "", masterKey);
}

async function sendMetrics({ metrics }: ManagementDeps, response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": metrics?.contentType ?? "text/plain" }).end(await metrics?.text());
}

/** Undefined for the master key; else the user who calls, whom the route may let do something for a team of his. Throws the 401s. */
async function requireManager(deps: ManagementDeps, request: IncomingMessage): Promise<string | undefined> {
  const credential = credentialOf(request.headers);
  if (credential === undefined)
    throw new AppError("missing_api_key", "Authentication Error, No api key passed in. Send the master key as a Bearer token.");
  if (isSameSecret(credential, deps.masterKey)) return undefined;
  const userId = await userOfKey(deps.db, credential);
  if (userId !== undefined) return userId;
  throw new AppError(
    "invalid_api_key",
    "Authentication Error, Invalid proxy server token passed. The management API takes the master key, and keys of admins of teams.",
  );
}

/** LiteLLM's words. */
function onlyProxyAdmin(path: string): AppError {
  return new AppError(
    "invalid_api_key",
    `Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams. Route=${path.slice(0, 128)}. Send the master key.`,
  );
}

function methodNotAllowed(path: string, routes: readonly Route[]): ManagementAnswer {
  const allow = routes.map((route) => route.method).join(", ");
  return { ...managementError(new AppError("method_not_allowed", `${path} takes ${allow}.`)), headers: { allow } };
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const { bytes } = await readBody(request, { limitBytes: BODY_LIMIT_BYTES });
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(bytes.toString("utf8")) as unknown;
  } catch (error) {
    throw new AppError("invalid_json", "The body is not JSON.", { cause: error });
  }
}

function send(response: ServerResponse, result: ManagementAnswer): void {
  const bytes = Buffer.from(JSON.stringify(result.body));
  response.writeHead(result.status, { "content-type": "application/json", "content-length": bytes.length, ...result.headers });
  response.end(bytes);
}

/** Only what is not the caller's doing. */
function logFailure(logger: Logger, request: IncomingMessage, error: unknown): void {
  if (error instanceof ValidationError) return;
  const failure = asAppError(error);
  if (failure.status < 500) return;
  logger.error({ path: request.url?.split("?")[0], code: failure.code, error: String(failure.cause ?? failure) }, "management.failed");
}
