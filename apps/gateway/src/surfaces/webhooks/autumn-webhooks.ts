import { createRoute, z } from "@hono/zod-openapi";
import { isSignedBySvix, takeAutumnWebhook } from "@proliferate/services/autumn-webhooks";
import { AppError } from "@proliferate/shared/errors";
import type { GatewayApp, WebhooksDependencies } from "../../dependencies.ts";
import { errorResponsesOf, json } from "../../openapi.ts";

const receive = createRoute({
  method: "post",
  path: "/webhooks/autumn",
  summary: "Takes Autumn's signed events: the balance and plan of their customer are read anew",
  description:
    "Give Autumn this address as a webhook endpoint, and its signing secret to AUTUMN_WEBHOOK_SECRET. The signature stands for a token. Safe to repeat.",
  responses: {
    200: json(
      "Taken; `ignored` when it concerns no organization that billing knows.",
      z.object({ outcome: z.enum(["refreshing", "ignored"]) }).meta({ id: "AutumnWebhookTaken" }),
    ),
    ...errorResponsesOf(
      "invalid_webhook_signature",
      "invalid_json",
      "invalid_request",
      "request_too_large",
      "sink_not_configured",
      "store_unavailable",
      "internal_error",
    ),
  },
});

/** `/webhooks/autumn`: no token, but a signature over the exact bytes, which are looked at before anything is parsed. */
export function registerAutumnWebhookRoute(app: GatewayApp, { db, autumnWebhookSecrets }: WebhooksDependencies): void {
  app.openapi(receive, async (context) => {
    if (autumnWebhookSecrets.length === 0)
      throw new AppError("sink_not_configured", "This gateway takes no events of Autumn: AUTUMN_WEBHOOK_SECRET is not set.");
    const body = new Uint8Array(await context.req.arrayBuffer());
    const header = (name: string): string | undefined => context.req.header(name);
    const headers = { id: header("svix-id"), timestamp: header("svix-timestamp"), signature: header("svix-signature") };
    if (!isSignedBySvix(body, headers, { secrets: autumnWebhookSecrets, nowSeconds: Math.floor(Date.now() / 1_000) })) {
      throw new AppError(
        "invalid_webhook_signature",
        "The event is not signed with AUTUMN_WEBHOOK_SECRET, or it was signed more than 5 minutes ago.",
      );
    }
    const taken = await takeAutumnWebhook(db, parseJson(body));
    if (taken === undefined) throw new AppError("invalid_request", "The event has no type, or no data that names a customer.");
    return context.json({ outcome: taken.outcome }, 200);
  });
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString("utf8"));
  } catch (error) {
    throw new AppError("invalid_json", "The event is not JSON.", { cause: error });
  }
}
