import { type DatabaseClient, isDatabaseReachable } from "@proliferate/db";

/** LiteLLM's answer, a JSON string. */
export const ALIVE = "I'm alive!";

interface Readiness {
  readonly status: number;
  readonly body: { readonly status: "healthy" | "unhealthy" | "draining"; readonly db: "connected" | "disconnected" };
}

/** 200 when the database answers, else 503: without it no request can be admitted. 503 `draining` once the process was told to stop. */
export async function checkReadiness(db: DatabaseClient, { isDraining }: { readonly isDraining: boolean }): Promise<Readiness> {
  const isReachable = await isDatabaseReachable(db);
  if (isDraining) return { status: 503, body: { status: "draining", db: isReachable ? "connected" : "disconnected" } };
  if (isReachable) return { status: 200, body: { status: "healthy", db: "connected" } };
  return { status: 503, body: { status: "unhealthy", db: "disconnected" } };
}
