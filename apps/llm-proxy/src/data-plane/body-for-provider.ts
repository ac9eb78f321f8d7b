import { applyEdits, type Edit } from "../body/edits.ts";
import type { RequestBody } from "../body/request-body.ts";
import type { Deployment } from "../config/model-table.ts";
import type { Dialect } from "../dialects/dialect.ts";

interface UpstreamBody {
  readonly bytes: Buffer;
  /** What counts a stream was asked for by us alone; the caller must not get it. */
  readonly dropUsageChunk: boolean;
}

/**
 * The bytes for the provider: the caller's own, but for the model's name where the provider has another one, and for what a
 * dialect has to ask for, so that a stream says what it cost. Nothing of the caller's is written anew. The body is changed in
 * place where it can be: it is asked for once.
 */
export function bodyForProvider(
  body: RequestBody,
  dialect: Pick<Dialect, "askForUsage">,
  { upstreamModel, provider }: Pick<Deployment, "upstreamModel"> & { readonly provider: Pick<Deployment["provider"], "countsUnasked"> },
): UpstreamBody {
  const { bytes, room, facts, positions } = body;
  const edits: Edit[] = [];
  // A string is known without its quotes.
  if (positions.model && facts.model !== upstreamModel) {
    edits.push({ start: positions.model.start - 1, end: positions.model.end + 1, text: JSON.stringify(upstreamModel) });
  }
  const asksForUsage = provider.countsUnasked ? undefined : dialect.askForUsage(body);
  if (asksForUsage) edits.push(asksForUsage);
  return { bytes: edits.length === 0 ? bytes : applyEdits({ bytes, room }, edits), dropUsageChunk: asksForUsage !== undefined };
}
