import { createRoute, z } from "@hono/zod-openapi";
import { redactSecrets } from "@proliferate/runtime";
import { isSessionFinal, readSessionEvents, readSessionLog } from "@proliferate/services/sessions";
import { resourceIdSchema } from "@proliferate/shared/contracts";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import type { GatewayApp, SessionsDependencies } from "../../dependencies.ts";
import { LAUNCH_CODES, launchDependencies } from "./launch-request.ts";
import { BEARER_SECURITY, errorResponses } from "../../openapi.ts";
import type { EventWatch } from "../../session-event-signal.ts";

const PAGE = 200;
/** Of silence, then a comment: proxies between here and the reader cut a connection on which nothing moves. */
const KEEP_ALIVE_MS = 15_000;

const eventId = z.string().regex(/^\d{1,18}$/, "must be the id of an event");

const events = createRoute({
  method: "get",
  path: "/v1/sessions/{session_id}/events",
  summary: "What a session goes through, as it happens",
  description:
    "Server-sent events in order, from the first one or after `Last-Event-ID`: `event` is the type, `data` the " +
    "event as JSON. The stream ends when the session has ended (or, with `until=ready`, when its sandbox is ready, " +
    "paused or gone); a reader that comes back for more than there will ever be gets 204, at which EventSource stops.",
  security: BEARER_SECURITY,
  request: {
    params: z.object({ session_id: resourceIdSchema }),
    query: z.object({ until: z.enum(["ready", "ended"]).default("ended") }),
    headers: z.object({ "last-event-id": eventId.optional() }),
  },
  responses: {
    200: { description: "The stream.", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "The session has ended and every event is known." },
    ...errorResponses("session_not_found"),
  },
});

/** In bytes; the agent may have written more than anybody reads. */
const LOG_BYTES = { usual: 65_536, most: 1_048_576 } as const;

const log = createRoute({
  method: "get",
  path: "/v1/sessions/{session_id}/log",
  summary: "What a session's agent wrote last",
  description:
    "The end of the agent's stdout and stderr, read in its sandbox, so it is there as long as the sandbox is. What looks like a key is cut out.",
  security: BEARER_SECURITY,
  request: {
    params: z.object({ session_id: resourceIdSchema }),
    query: z.object({ bytes: z.coerce.number().int().min(1).max(LOG_BYTES.most).default(LOG_BYTES.usual) }),
  },
  responses: {
    200: { description: "The text.", content: { "text/plain": { schema: z.string() } } },
    ...errorResponses("session_not_found", "session_not_ready", "sandbox_exec_failed", "sandbox_exec_timeout", ...LAUNCH_CODES),
  },
});

/** `/v1/sessions/{id}/events` and `/log`. Read from the database and the sandbox, so any gateway serves what another one does. */
export function registerSessionEventsRoute(app: GatewayApp, deps: SessionsDependencies): void {
  const { db, sessionEvents } = deps;
  app.openapi(log, async (context) =>
    context.text(
      redactSecrets(
        await readSessionLog(launchDependencies(deps), context.req.valid("param").session_id, context.req.valid("query").bytes),
      ),
      200,
    ),
  );
  app.openapi(events, async (context) => {
    const { session_id: sessionId } = context.req.valid("param");
    const { until } = context.req.valid("query");
    const isFinal = (): Promise<boolean> => isSessionFinal(db, sessionId, until);
    let last = context.req.valid("header")["last-event-id"] ?? "0";
    if ((await isFinal()) && last !== "0" && (await readSessionEvents(db, sessionId, last, 1)).length === 0) return context.body(null, 204);
    return streamSSE(context, async (stream) => {
      const watch = sessionEvents.watch(sessionId);
      stream.onAbort(() => watch.wake());
      try {
        while (!stream.aborted) {
          const final = await isFinal();
          const page = await readSessionEvents(db, sessionId, last, PAGE);
          for (const event of page) {
            await stream.writeSSE({ id: event.event_id, event: event.type, data: JSON.stringify(event) });
            last = event.event_id;
          }
          if (page.length === PAGE) continue;
          if (final) return;
          await untilNews(stream, watch);
        }
      } finally {
        watch.close();
      }
    });
  });
}

/** Keeps the connection open meanwhile; resolves when it is time to look again. */
async function untilNews(stream: SSEStreamingApi, watch: EventWatch): Promise<void> {
  for (let restMs = watch.lookAfterMs(); restMs > 0 && !stream.aborted; restMs -= KEEP_ALIVE_MS) {
    if (await watch.wait(Math.min(restMs, KEEP_ALIVE_MS))) return;
    if (restMs > KEEP_ALIVE_MS) await stream.write(": still here\n\n");
  }
}
