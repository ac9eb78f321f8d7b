import { type DatabaseClient, isDatabaseReachable } from "@proliferate/db";
import type { Grace } from "./grace/grace.ts";

/** LiteLLM's answer, a JSON string. */
export const ALIVE = "I'm alive!";

interface Readiness {
  readonly status: number;
  readonly body: { readonly status: "healthy" | "unhealthy" | "draining" | "grace"; readonly db: "connected" | "disconnected" };
}

interface ReadinessDeps {
  readonly db: DatabaseClient;
  readonly shutdown: { readonly isDraining: boolean };
  readonly grace: Pick<Grace, "isAbsent" | "isOpen"> | undefined;
}

/**
 * 200 when the database answers, else 503: without it no request can be admitted. 200 `grace` while known keys are served without it. 503
 * `draining` once the process was told to stop.
 */
export async function checkReadiness({ db, shutdown, grace }: ReadinessDeps): Promise<Readiness> {
  const isReachable = !grace?.isAbsent && (await isDatabaseReachable(db));
  const reached = isReachable ? "connected" : "disconnected";
  if (shutdown.isDraining) return { status: 503, body: { status: "draining", db: reached } };
  if (isReachable) return { status: 200, body: { status: "healthy", db: reached } };
  if (grace?.isOpen) return { status: 200, body: { status: "grace", db: reached } };
  return { status: 503, body: { status: "unhealthy", db: reached } };
}
