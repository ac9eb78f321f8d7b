import { requireLimitsLeft } from "@proliferate/access/requests";
import type { CallerRow } from "@proliferate/access/keys";
import { servedName } from "@proliferate/access/principals";
import { AppError } from "@proliferate/shared/errors";
import { readRequestBody } from "../body/request-body.ts";
import { bodyForProvider } from "./body-for-provider.ts";
import { readBody } from "../http/read-body.ts";
import { type HeldMemory, SMALL_BODY_BYTES } from "../http/upload-memory.ts";
import { authenticate } from "./authenticate.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { headersForProvider } from "./headers.ts";
import { OutgoingBody } from "./outgoing-body.ts";
import type { DialectRoute } from "../dialects/dialect.ts";
import type { RequestFacts } from "../body/request-facts.ts";
import type { RoutedModel } from "../catalogue/snapshot.ts";
import type { ModelTable } from "../config/model-table.ts";
import type { UpstreamRequest } from "./upstream.ts";

/** A request that is understood: who sends it, what it says, who serves it, and what the provider gets. */
export interface Received {
  readonly caller: CallerRow;
  /** All that the caller can call, as it was when the request came. */
  readonly models: ModelTable;
  readonly facts: RequestFacts;
  /** As the caller asked for the model, where an alias led elsewhere; else null. */
  readonly requestedAs: string | null;
  readonly routed: RoutedModel;
  /** Its body holds memory until it is released. */
  readonly upstream: UpstreamRequest;
  readonly dropUsageChunk: boolean;
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
  try {
    const { limits, memory: uploads, scanTurns } = deps.uploads;
    const hold = (bytes: number): HeldMemory => (memory = uploads.hold(caller.keyHash, call.request.socket, bytes));
    const read = await readBody(call.request, { limitBytes: limits.bodyBytes, pace: limits.pace, hold });
    const body = await readRequestBody(read, call.dialect.body, scanTurns);
    const asked = body.facts.model;
    const served = servedName(caller, asked);
    const [routed] = catalogue.resolve(caller, served, call.dialect);
    const { bytes, dropUsageChunk } = bodyForProvider(body, call.dialect, routed.deployment);
    const outgoing = new OutgoingBody(bytes, () => memory?.release());
    return {
      caller,
      models: catalogue.modelsFor(caller),
      facts: body.facts,
      requestedAs: served === asked ? null : asked,
      routed,
      upstream: upstreamRequest(call, routed, outgoing),
      dropUsageChunk,
    };
  } catch (error) {
    memory?.release();
    throw error;
  }
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
function upstreamRequest(call: Call, { deployment, apiKey }: RoutedModel, body: OutgoingBody): UpstreamRequest {
  const base = new URL(deployment.apiBase);
  return {
    origin: base.origin,
    path: `${base.pathname.replace(/\/+$/, "")}${call.upstreamPath}`,
    headers: headersForProvider(call.request.headers, deployment.provider, apiKey),
    body,
  };
}
