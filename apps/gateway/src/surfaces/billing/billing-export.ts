import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createRoute, z } from "@hono/zod-openapi";
import { checkRange, exportEvents } from "@proliferate/services/reports";
import { exportQuerySchema } from "@proliferate/shared/contracts";
import type { Context } from "hono";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../../openapi.ts";

const exportRoute = createRoute({
  method: "get",
  path: "/v1/billing/export",
  summary: "Every billing event that was recorded before the export began, with its batch",
  description:
    "Requests that began in `from` (counts) to `to` (does not). A connection that ends early is an export that " +
    "failed: the last chunk is missing. It is cut when its reader takes nothing for 30 s, or has not read all of " +
    "it after 30 min.",
  security: BEARER_SECURITY,
  request: { query: exportQuerySchema },
  responses: {
    200: { description: "Streamed.", content: { "text/csv": { schema: z.string() }, "application/x-ndjson": { schema: z.string() } } },
    ...errorResponses("reports_busy"),
  },
});

const CONTENT_TYPE = { csv: "text/csv; charset=utf-8; header=present", json: "application/x-ndjson; charset=utf-8" } as const;

/** `/v1/billing/export`, as fast as its reader takes it; a reader that leaves, or takes nothing any more, ends it. */
export function registerBillingExportRoute(app: GatewayApp, { reports, logger }: BillingDependencies): void {
  app.openapi(exportRoute, (context) => {
    const { format, org_id: orgId, from, to } = context.req.valid("query");
    const filter = { orgId, from: from === undefined ? undefined : new Date(from), to: to === undefined ? undefined : new Date(to) };
    checkRange(filter);
    reports.checkSeat();
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const lines = new PatientWriter(writable.getWriter(), reports);
    reports
      .run(() => exportEvents(reports.db, filter, { format, write: (text) => lines.write(text) }))
      .then(
        () => lines.close(),
        async (error: unknown) => {
          logger.warn({ request_id: context.get("requestId"), error: (error as Error | undefined)?.message }, "export.broken");
          // A reader that takes nothing would not learn of an aborted stream; its connection is cut.
          const outgoing = outgoingOf(context);
          if (outgoing && !outgoing.closed) await once(outgoing.destroy(), "close");
          await lines.abort(error);
        },
      );
    return context.body(readable, 200, {
      "content-type": CONTENT_TYPE[format],
      "content-disposition": `attachment; filename="billing-events.${format === "csv" ? "csv" : "ndjson"}"`,
    });
  });
}

/** Undefined where the request came over no socket of ours. */
function outgoingOf(context: Context): ServerResponse | undefined {
  return (context.env as { readonly outgoing?: ServerResponse } | undefined)?.outgoing;
}

/** Writes text to a stream whose reader must take each piece within some time, and all of it within another. */
class PatientWriter {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #idleMs: number;
  readonly #wholeMs: number;
  readonly #beganAt = performance.now();
  readonly #encoder = new TextEncoder();

  constructor(writer: WritableStreamDefaultWriter<Uint8Array>, patience: { readonly idleMs: number; readonly wholeMs: number }) {
    this.#writer = writer;
    this.#idleMs = patience.idleMs;
    this.#wholeMs = patience.wholeMs;
  }

  /** Resolves when the reader took it; rejects when it left, took nothing for too long, or the time for all of it is over. */
  async write(text: string): Promise<void> {
    const leftMs = this.#beganAt + this.#wholeMs - performance.now();
    const late = Promise.withResolvers<never>();
    const [waitMs, why] =
      leftMs < this.#idleMs
        ? [Math.max(leftMs, 0), `the reader did not take all of it within ${this.#wholeMs} ms`]
        : [this.#idleMs, `the reader took nothing for ${this.#idleMs} ms`];
    const timer = setTimeout(() => late.reject(new Error(why)), waitMs);
    const taken = this.#writer.write(this.#encoder.encode(text));
    taken.catch(() => undefined);
    await Promise.race([taken, late.promise]).finally(() => clearTimeout(timer));
  }

  async close(): Promise<void> {
    await this.#writer.close().catch(() => undefined);
  }

  async abort(reason: unknown): Promise<void> {
    await this.#writer.abort(reason).catch(() => undefined);
  }
}
