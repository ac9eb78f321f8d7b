import { createRoute, z } from "@hono/zod-openapi";
import { checkRange, exportEvents } from "@proliferate/services/billing/export";
import { exportQuerySchema } from "@proliferate/shared/contracts";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";
import { BEARER_SECURITY, errorResponses } from "../openapi.ts";

const exportRoute = createRoute({
  method: "get",
  path: "/v1/billing/export",
  summary: "Every billing event with its batch, all as of one moment",
  description: "Requests that began in `from` (counts) to `to` (does not). A connection that ends early is an export that failed: the last chunk is missing.",
  security: BEARER_SECURITY,
  request: { query: exportQuerySchema },
  responses: {
    200: { description: "Streamed.", content: { "text/csv": { schema: z.string() }, "application/x-ndjson": { schema: z.string() } } },
    ...errorResponses(),
  },
});

const CONTENT_TYPE = { csv: "text/csv; charset=utf-8; header=present", json: "application/x-ndjson; charset=utf-8" } as const;

/** `/v1/billing/export`, as fast as its reader takes it; a reader that leaves ends the statement. */
export function registerBillingExportRoute(app: GatewayApp, { db, logger }: GatewayDependencies): void {
  app.openapi(exportRoute, (context) => {
    const { format, org_id: orgId, from, to } = context.req.valid("query");
    const filter = { orgId, from: from === undefined ? undefined : new Date(from), to: to === undefined ? undefined : new Date(to) };
    checkRange(filter);
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const encoder = new TextEncoder();
    exportEvents(db, filter, { format, write: (lines) => writer.write(encoder.encode(lines)) }).then(
      () => writer.close(),
      async (error: unknown) => {
        logger.warn({ request_id: context.get("requestId"), error: (error as Error | undefined)?.message }, "export.broken");
        await writer.abort(error).catch(() => undefined);
      },
    );
    return context.body(readable, 200, { "content-type": CONTENT_TYPE[format], "content-disposition": `attachment; filename="billing-events.${format === "csv" ? "csv" : "ndjson"}"` });
  });
}
