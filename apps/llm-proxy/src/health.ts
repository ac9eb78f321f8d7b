import { type DatabaseClient, isDatabaseReachable } from "@proliferate/db";

/** LiteLLM's answer, a JSON string. */
export const ALIVE = "I'm alive!";

export interface Readiness {
  readonly status: number;
  readonly body: { readonly status: "healthy" | "unhealthy"; readonly db: "connected" | "disconnected" };
}

/** 200 when the database answers, else 503: without it no request can be admitted. */
export async function checkReadiness(db: DatabaseClient): Promise<Readiness> {
  if (await isDatabaseReachable(db)) return { status: 200, body: { status: "healthy", db: "connected" } };
  return { status: 503, body: { status: "unhealthy", db: "disconnected" } };
}
