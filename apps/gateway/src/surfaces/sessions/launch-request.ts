import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "@hono/zod-openapi";
import {
  describeSandbox,
  endSession,
  findSession,
  type LaunchContent,
  type LaunchDependencies,
  launchSession,
  type LaunchUnderWay,
  type OneRun,
  resumeSession,
  type SessionRow,
  type StartedSession,
  type StartSessionRequest,
  type StoredAnswer,
} from "@proliferate/services/sessions";
import { buildSandboxEnv } from "@proliferate/shared";
import type { createSessionRequestSchema, LaunchedSession, resumeSessionRequestSchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { OPENCODE_SERVER_USERNAME } from "@proliferate/shared/sandbox";
import type { SessionsDependencies } from "../../dependencies.ts";
import { sandboxSettings } from "./sandbox-settings.ts";

/** What a launch may answer besides the errors of any start. */
export const LAUNCH_CODES = [
  "launcher_not_configured",
  "reserved_variable",
  "provider_key_exposure",
  "repo_unavailable",
  "sandbox_create_failed",
  "sandbox_refused",
  "sandbox_exists",
  "sandbox_not_ready",
  "sandbox_launch_cancelled",
  "sandbox_launch_timeout",
  "sandbox_terminate_failed",
  "sandbox_provider_unauthorized",
  "sandbox_provider_unavailable",
] as const;

/** A token in a header: it becomes a header again, so nothing that could end one is in it. */
export const secretToken = z.string().regex(/^[\x21-\x7e]{1,1000}$/, "must be 1 to 1000 visible characters");

export const waitQuery = z.object({
  wait: z
    .enum(["true", "false"])
    .default("false")
    .transform((text) => text === "true")
    .describe("answer when the agent answers, or the launch has failed"),
});

/** A `POST /v1/sessions`, parsed. */
export interface StartRequest {
  readonly body: z.output<typeof createSessionRequestSchema>;
  readonly repoToken: string | undefined;
  readonly wait: boolean;
}

export const launchDependencies = ({ db, proxy, admission, sandboxes, instanceId, logger }: SessionsDependencies): LaunchDependencies => ({
  db,
  keys: proxy.keys,
  admission,
  sandboxes,
  instanceId,
  onProblem: (problem) => logger.error(problem, "launch.cleanup_failed"),
});

interface Launch {
  readonly underWay: LaunchUnderWay;
  /** Of the agent's server. Told to the caller, stored nowhere. */
  readonly password: string;
}

const newPassword = (): string => randomBytes(32).toString("base64url");

/** Starts a session with a sandbox. What is wrong with its variables is said before there is a key. */
export async function launchFromRequest(
  deps: SessionsDependencies,
  fields: StartSessionRequest,
  { body, repoToken, wait }: StartRequest,
  run: OneRun,
): Promise<Launch> {
  if (body.launcher === "none") throw new AppError("invalid_request", "The request names no launcher.", { param: "launcher" });
  checkSecrets(fields, body.secrets);
  const password = newPassword();
  await run.keep({ password } satisfies z.output<typeof keptSchema>);
  const underWay = await launchSession(launchDependencies(deps), {
    ...fields,
    launcher: body.launcher,
    repoUrl: body.repo?.url,
    passwordIsKept: run.isKept || !wait,
    content: (started) => ({
      ...settingsOf(deps, started, password, body.secrets),
      files: body.files,
      repo: body.repo && { ...body.repo, token: repoToken },
    }),
  });
  return { underWay, password };
}

type ResumeRequest = z.output<typeof resumeSessionRequestSchema>;

/** Wakes a paused session, with a new key and a new password. */
export async function resumeFromRequest(
  deps: SessionsDependencies,
  sessionId: string,
  request: ResumeRequest,
  wait: boolean,
): Promise<Launch> {
  checkSecrets({ sessionId, orgId: "any" }, request.secrets);
  const password = newPassword();
  const underWay = await resumeSession(launchDependencies(deps), {
    sessionId,
    duration: request.duration,
    maxBudgetUsd: request.max_budget_usd,
    passwordIsKept: !wait,
    content: (started) => settingsOf(deps, started, password, request.secrets),
  });
  return { underWay, password };
}

function checkSecrets(
  { sessionId, orgId }: Pick<StartSessionRequest, "sessionId" | "orgId">,
  secrets: Readonly<Record<string, string>> | undefined,
): void {
  buildSandboxEnv({
    sessionId,
    orgId,
    apiKey: "checked-before-there-is-one",
    baseUrl: "http://localhost/v1",
    organizationSecrets: secrets ?? {},
  });
}

function settingsOf(
  deps: SessionsDependencies,
  { session, apiKey, models }: StartedSession,
  password: string,
  secrets: Readonly<Record<string, string>> | undefined,
): LaunchContent {
  const { environment, opencode_config: config } = sandboxSettings({
    session,
    apiKey,
    baseUrl: deps.proxy.baseUrl,
    smallModel: deps.smallModel,
    models,
    secrets,
    password,
  });
  return { environment, config: JSON.stringify(config, undefined, 2) };
}

/** 202 at once, or 201 when the agent answers; a launch that fails meanwhile is its own error. */
export async function answerLaunch({ started, launched }: LaunchUnderWay, password: string, wait: boolean): Promise<StoredAnswer> {
  return wait
    ? launchAnswer(201, await launched, password, started.resumed)
    : launchAnswer(202, started.session, password, started.resumed);
}

function launchAnswer(status: 201 | 202, session: SessionRow, password: string, resumed: boolean): StoredAnswer {
  const sandbox = describeSandbox(session);
  if (!sandbox) throw new AppError("internal_error", `Session ${session.session_id} has no sandbox on record.`);
  const body: LaunchedSession = {
    session_id: session.session_id,
    org_id: session.org_id,
    state: session.state,
    resumed,
    model: session.model,
    expires_at: session.expires_at?.toISOString() ?? null,
    launcher: session.launcher,
    sandbox,
    agent: { username: OPENCODE_SERVER_USERNAME, password, url: session.agent_url },
    events_url: `/v1/sessions/${session.session_id}/events`,
  };
  return { status, body };
}

/** What a launch keeps under its idempotency key, so that its caller is told the password although the gateway died. */
const keptSchema = z.object({ password: z.string() });
const FORMER_TIMEOUT_MS = 60_000;
const FORMER_POLL_MS = 200;

/**
 * The answer for the session that a request with the same idempotency key had started when its gateway died: the reaper
 * completes its launch, or ends it. Undefined where there is no such session, or it has ended: then the work begins anew, and
 * a session whose id nobody was told is ended. Throws `idempotency_in_progress` while that is not decided.
 */
export async function answerFormer(
  deps: SessionsDependencies,
  { former, sessionId }: OneRun,
  { wait }: StartRequest,
): Promise<StoredAnswer | undefined> {
  if (former === undefined) return undefined;
  const kept = keptSchema.safeParse(former.kept);
  const deadline = performance.now() + FORMER_TIMEOUT_MS;
  for (;;) {
    const session = await findSession(deps.db, former.sessionId);
    const isAlive = session?.state === "starting" || session?.state === "active";
    if (isAlive && !kept.success && former.sessionId !== sessionId) await endSession(launchDependencies(deps), former.sessionId);
    if (session === undefined || !isAlive || !kept.success) return undefined;
    if (session.sandbox_state === "ready") return launchAnswer(wait ? 201 : 202, session, kept.data.password, false);
    if (performance.now() > deadline)
      throw new AppError("idempotency_in_progress", `The launch of session ${former.sessionId}, whose gateway died, is not decided yet.`, {
        retryAfterSeconds: 5,
      });
    await delay(FORMER_POLL_MS);
  }
}
