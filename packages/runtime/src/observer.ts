import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";

/** What every process reads that shows its own state. */
export const OBSERVER_ENVIRONMENT = {
  METRICS_TOKEN: z
    .string()
    .min(16, "must have at least 16 characters")
    .optional()
    .describe(
      "Bearer token that /metrics, and /status of the worker, ask of everybody, this machine included; unset: worker and proxy show theirs to this machine only, the gateway to a root token",
    ),
} as const;

/** As much of a request as says who asks. */
interface ObserverRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Undefined where the request came over no socket. */
  readonly remoteAddress: string | undefined;
}

/** A proxy on this machine speaks for somebody else; each kind that is in use says so by one of these. */
const FORWARDING_HEADERS = ["forwarded", "x-forwarded-for", "x-real-ip", "via"] as const;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/**
 * True when the request may see what a process tells of itself. Where a token is set, that is who carries it, also on this
 * machine: a sandbox that runs here is on this machine, too. Without one it is a program of this machine that speaks for itself.
 * What a company spends is nobody else's business.
 */
export function isObserver(request: ObserverRequest, token: string | undefined): boolean {
  if (token !== undefined) {
    const sent = /^Bearer +(\S+) *$/i.exec(String(request.headers["authorization"] ?? ""))?.[1];
    return sent !== undefined && timingSafeEqual(digest(sent), digest(token));
  }
  return isLoopback(request.remoteAddress ?? "") && FORWARDING_HEADERS.every((name) => request.headers[name] === undefined);
}

const isLoopback = (address: string): boolean => /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/.test(address);
