import type { IncomingMessage, ServerResponse } from "node:http";
import type { Dialect } from "./dialect.ts";

/** One request of a caller, and where its answer goes. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The attempt's id, and the caller's `request-id`. */
  readonly requestId: string;
  readonly dialect: Dialect;
  /** Path at the provider, with the caller's query. */
  readonly upstreamPath: string;
  readonly startedAt: Date;
}
