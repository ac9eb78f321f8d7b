import { requireLimitsLeft } from "@proliferate/access/requests";
import type { CallerRow } from "@proliferate/access/keys";
import { servedName } from "@proliferate/access/principals";
import { AppError } from "@proliferate/shared/errors";
import { readRequestBody, type RequestBody } from "../body/request-body.ts";
import { bodyForProvider } from "./body-for-provider.ts";
import { readBody } from "../http/read-body.ts";
import { type HeldMemory, SMALL_BODY_BYTES } from "../http/upload-memory.ts";
import { authenticate } from "./authenticate.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { headersForProvider, headersOfTranslated } from "./headers.ts";
import { OutgoingBody } from "./outgoing-body.ts";
import { type DialectRoute, upstreamPathOf, withModel } from "../dialects/dialect.ts";
import type { RequestFacts } from "../body/request-facts.ts";
import type { RoutedModel } from "../catalogue/snapshot.ts";
import type { ModelTable } from "../config/model-table.ts";
import { requireTranslatable } from "../translation/translator.ts";
import type { Translation } from "../translation/translated-answer.ts";
import type { UpstreamRequest } from "./upstream.ts";

/** A request that is understood: who sends it, what it says, who serves it, and what the provider gets. */
export interface Received {
  readonly caller: CallerRow;
  /** All that the caller can call, as it was when the request came. */
  readonly models: ModelTable;
  /** Of what the provider gets: of a translated body what the caller wrote is nobody's cost. */
  readonly facts: RequestFacts;
  /** As the caller asked for the model, where an alias led elsewhere; else null. */
  readonly requestedAs: string | null;
  readonly routed: RoutedModel;
  /** Its body holds memory until it is released. */
  readonly upstream: UpstreamRequest;
  readonly dropUsageChunk: boolean;
  /** How the body was translated; undefined where the caller's own bytes go on. */
  readonly translation: Translation | undefined;
}

/**
 * Authenticates before it reads the body, so that a stranger's 32 MB are never held; a key whose budget is spent is refused
 * before a large body, too. What is held is counted first. Throws what its steps throw, and holds nothing then.
 */
export async function receive(deps: DataPlaneDeps, call: Call, route: DialectRoute["kind"]): Promise<Received> {
  const caller = await authenticate(deps, call.request, route);
  requirePlainBody(call);
  // Without the store nothing can be said of it before admission, which looks at every one.
  if (mayBeLarge(call) && !deps.grace?.isAbsent) await requireLimitsLeft(deps.db, caller);
  const catalogue = deps.catalogue.current;
  let memory: HeldMemory | undefined;
  // Of the translated body, beside the caller's own.
  let more: HeldMemory | undefined;
  const release = (): void => {
    memory?.release();
    more?.release();
  };
  try {
    const { limits, memory: uploads, reads, scanTurns } = deps.uploads;
    const hold = (bytes: number): HeldMemory => (memory = uploads.hold(caller.keyHash, call.request.socket, bytes));
    const read = await readBody(call.request, { limitBytes: limits.bodyBytes, pace: limits.pace, hold, reads });
    const body = await readRequestBody(read, call.dialect.body, scanTurns, call.inPath);
    const asked = body.facts.model;
    const served = servedName(caller, asked);
    const [routed] = catalogue.resolve(caller, served, call.dialect);
    const isTranslated = routed.dialect !== call.dialect;
    if (isTranslated) requireTranslatable(body.bytes.length);
    if (isTranslated) more = uploads.hold(caller.keyHash, call.request.socket, body.bytes.length);
    const { body: own, translation } = isTranslated ? await translate(deps, call, routed, body) : { body, translation: undefined };
    const { bytes, dropUsageChunk } = bodyForProvider(own, routed.dialect, routed.deployment);
    const outgoing = new OutgoingBody(bytes, release);
    return {
      caller,
      models: catalogue.modelsFor(caller),
      facts: own.facts,
      requestedAs: served === asked ? null : asked,
      routed,
      upstream: upstreamRequest(call, routed, outgoing, own.facts.stream),
      dropUsageChunk,
      translation,
    };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * The body in the dialect that its model is served in. What it can cost is read anew off these bytes, so that a caller of another dialect is judged, held
 * and billed as one of the provider's own; the model and the user stay as the caller names them.
 */
async function translate(
  deps: DataPlaneDeps,
  call: Call,
  { deployment, dialect }: RoutedModel,
  body: RequestBody,
): Promise<{ readonly body: RequestBody; readonly translation: Translation }> {
  const [from, to] = [call.dialect.codec, dialect.codec];
  if (!from || !to) throw new Error(`There is no translation from ${call.dialect.name} to ${dialect.name}.`);
  const target = { model: deployment.upstreamModel, maxOutputTokens: deployment.maxOutputTokens };
  const { bytes, ...request } = await deps.translator.translate(body.bytes, from, to, target, call.inPath);
  const { facts, ...read } = await readRequestBody({ bytes, room: 0 }, dialect.body, deps.uploads.scanTurns, {
    model: deployment.upstreamModel,
    isStream: body.facts.stream,
  });
  const { model, endUser, unknownFields } = body.facts;
  return { body: { ...read, facts: { ...facts, model, endUser, unknownFields } }, translation: { dialect, from, to, request } };
}

/** What is encoded cannot be judged. Throws `invalid_request`. */
function requirePlainBody({ request }: Call): void {
  const encoding = request.headers["content-encoding"]?.trim().toLowerCase() ?? "";
  if (encoding === "" || encoding === "identity") return;
  throw new AppError("invalid_request", "The body has a content encoding; send it plain, as JSON in UTF-8.", { param: "content-encoding" });
}

/** Whether the body is worth a look at the budget before it is read; admission looks at every one. */
function mayBeLarge({ request }: Call): boolean {
  const announced = request.headers["content-length"];
  return announced === undefined || Number(announced) > SMALL_BODY_BYTES;
}

/** The request as the provider gets it: its key instead of the caller's, and the caller's query. */
function upstreamRequest(call: Call, { deployment, apiKey, dialect }: RoutedModel, body: OutgoingBody, isStream: boolean): UpstreamRequest {
  const base = new URL(deployment.apiBase);
  const isTranslated = dialect !== call.dialect;
  const asked = { model: deployment.upstreamModel, isStream };
  const headers = isTranslated ? headersOfTranslated(call.request.headers) : call.request.headers;
  return {
    origin: base.origin,
    path: `${base.pathname.replace(/\/+$/, "")}${isTranslated ? upstreamPathOf(dialect, asked) : withModel(call.upstreamPath, asked.model)}`,
    headers: headersForProvider(headers, deployment.provider, apiKey),
    body,
  };
}
