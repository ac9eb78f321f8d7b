import type { OpenAPIHono } from "@hono/zod-openapi";
import type { DatabaseClient } from "@proliferate/db";
import type { Logger, Registry } from "@proliferate/runtime";
import type { SinkSettings } from "@proliferate/services/sinks";
import type { SessionAdmission, SessionKeys, SessionLauncher } from "@proliferate/services/sessions";
import type { ReportRoom } from "./report-room.ts";
import type { SessionEventSignal } from "./session-event-signal.ts";
import type { GatewayVariables } from "./request-id.ts";

/** What every surface may use. */
export interface CommonDependencies {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  /** Root tokens: bearer tokens that open all of `/v1`. */
  readonly apiTokens: readonly string[];
}

/** Of the surface `sessions`. */
export interface SessionsDependencies extends CommonDependencies {
  /** For sessions that name no model. */
  readonly defaultModel: string;
  /** For titles and summaries, where the session's key allows it. */
  readonly smallModel: string;
  readonly proxy: LLMProxy;
  /** The billing gate; absent: off. */
  readonly admission?: SessionAdmission | undefined;
  /** The sandboxes that this gateway launches; it may have no launcher at all. */
  readonly sandboxes: SessionLauncher;
  /** Wakes those who read sessions' events. */
  readonly sessionEvents: SessionEventSignal;
  /** Of the process lock that this gateway holds as long as it lives. */
  readonly instanceId: number;
}

/** Of the surface `billing`. */
export interface BillingDependencies extends CommonDependencies {
  /** For what reads whole tables. */
  readonly reports: ReportRoom;
  /** The sink, to compare with; absent where this gateway holds no sink's secret. */
  readonly comparison?: { readonly sinks: SinkSettings; readonly markup: string } | undefined;
}

/** Of the surface `webhooks`. */
export interface WebhooksDependencies extends CommonDependencies {
  /** With which Autumn signs its events; none: they are not taken. */
  readonly autumnWebhookSecrets: readonly string[];
}

/** Of the surfaces `health` and `metrics`. */
export interface ProcessDependencies extends CommonDependencies {
  /** Opens `/metrics`, as a root token does. */
  readonly metricsToken?: string | undefined;
  readonly proxy: LLMProxy;
  /** What this process counts; shown by `/metrics`. */
  readonly counted?: Registry | undefined;
}

/** Everything the gateway talks to: one row for each surface that needs more than all do. */
export interface GatewayDependencies extends SessionsDependencies, BillingDependencies, WebhooksDependencies, ProcessDependencies {}

/** The LLM proxy, as the gateway sees it. */
export interface LLMProxy {
  /** What sandboxes use, with `/v1`. */
  readonly baseUrl: string;
  readonly keys: SessionKeys;
  /** Throws an AppError that says why not. */
  checkReachable(): Promise<void>;
}

/** The Hono application that routes are registered on. */
export type GatewayApp = OpenAPIHono<GatewayVariables>;
