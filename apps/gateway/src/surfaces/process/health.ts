import { createRoute, z } from "@hono/zod-openapi";
import manifest from "../../../package.json" with { type: "json" };
import { pingSessionStore } from "@proliferate/services/sessions";
import { json } from "../../openapi.ts";
import type { GatewayApp, ProcessDependencies } from "../../dependencies.ts";

const checkSchema = z.object({ name: z.enum(["database", "llm_proxy"]), ok: z.boolean(), problem: z.string().optional() });
const readinessSchema = z.object({ status: z.enum(["ready", "not_ready"]), checks: z.array(checkSchema) }).meta({ id: "Readiness" });
const healthSchema = z.object({ status: z.literal("ok"), version: z.string() }).meta({ id: "Health" });
const livenessSchema = z.object({ status: z.literal("alive") }).meta({ id: "Liveness" });

const health = createRoute({
  method: "get",
  path: "/health",
  summary: "The process answers, and its version",
  responses: { 200: json("It answers; nothing else was looked at.", healthSchema) },
});

const live = createRoute({
  method: "get",
  path: "/livez",
  summary: "The process answers",
  responses: { 200: json("Alive; nothing else was looked at.", livenessSchema) },
});

const ready = createRoute({
  method: "get",
  path: "/readyz",
  summary: "The database and the LLM proxy answer",
  responses: { 200: json("Both answer.", readinessSchema), 503: json("At least one does not; `checks` names it.", readinessSchema) },
});

/** `/health`, `/livez` and `/readyz`, for supervisors; without a token, and telling nothing that a token would protect. */
export function registerHealthRoutes(app: GatewayApp, { db, proxy }: ProcessDependencies): void {
  app.openapi(health, (context) => context.json({ status: "ok", version: manifest.version } as const, 200));
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
