import type { IncomingMessage, ServerResponse } from "node:http";
import type { AskedInPath } from "@proliferate/conversation";
import type { Dialect } from "../dialects/dialect.ts";

/** One request of a caller, and where its answer goes. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The attempt's id, and the caller's `request-id`. */
  readonly requestId: string;
  readonly dialect: Dialect;
  /** Path at the provider, with the caller's query; `{model}` in it stands for the model as the provider names it. */
  readonly upstreamPath: string;
  /** What the path says in place of the body; undefined where the body says it. */
  readonly inPath: AskedInPath | undefined;
  /** By this machine's clock, which may be wrong: decides the price of what is reserved, and stands on no record. */
  readonly startedAt: Date;
  /** The same moment on the monotonic clock, as `performance.now()`. */
  readonly startedAtMs: number;
}
