import { createRoute, z } from "@hono/zod-openapi";
import { pingSessionStore } from "@proliferate/services/sessions/db";
import type { GatewayApp, GatewayDependencies } from "../dependencies.ts";

const checkSchema = z.object({ name: z.enum(["database", "llm_proxy"]), ok: z.boolean(), problem: z.string().optional() });
const readinessSchema = z.object({ status: z.enum(["ready", "not_ready"]), checks: z.array(checkSchema) }).meta({ id: "Readiness" });
const livenessSchema = z.object({ status: z.literal("alive") }).meta({ id: "Liveness" });

const live = createRoute({
  method: "get",
  path: "/livez",
  summary: "The process answers",
  responses: { 200: { description: "Alive; nothing else was looked at.", content: { "application/json": { schema: livenessSchema } } } },
});

const ready = createRoute({
  method: "get",
  path: "/readyz",
  summary: "The database and the LLM proxy answer",
  responses: {
    200: { description: "Both answer.", content: { "application/json": { schema: readinessSchema } } },
    503: { description: "At least one does not; `checks` names it.", content: { "application/json": { schema: readinessSchema } } },
  },
});

/** `/livez` and `/readyz`, for supervisors; without a token, and telling nothing that a token would protect. */
export function registerHealthRoutes(app: GatewayApp, { db, proxy }: GatewayDependencies): void {
  app.openapi(live, (context) => context.json({ status: "alive" } as const, 200));
  app.openapi(ready, async (context) => {
    const checks = await Promise.all([
      check("database", pingSessionStore(db), "PostgreSQL does not answer, or its migrations are not applied"),
      check("llm_proxy", proxy.checkReachable(), "The LLM proxy does not answer on its management address"),
    ]);
    return checks.every(({ ok }) => ok)
      ? context.json({ status: "ready" as const, checks }, 200)
      : context.json({ status: "not_ready" as const, checks }, 503);
  });
}

async function check(
  name: z.infer<typeof checkSchema>["name"],
  answer: Promise<void>,
  problem: string,
): Promise<z.infer<typeof checkSchema>> {
  return answer.then(
    () => ({ name, ok: true }),
    () => ({ name, ok: false, problem }),
  );
}
