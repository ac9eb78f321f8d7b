import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  type LaunchedSession,
  launchedSessionSchema,
  type Session,
  type SessionCost,
  sessionCostSchema,
  type SessionEvent,
  type SessionListResponse,
  sessionListResponseSchema,
  sessionSchema,
} from "@proliferate/shared/contracts";
import { AppError, ERROR_CODES, type ErrorCode } from "@proliferate/shared/errors";
import { EXIT, type ExitStatus } from "../exit-status.ts";
import type { GatewayConnection } from "../gateway-connection.ts";
import { dollars, table } from "../output.ts";
import type { SessionAction, SessionContext } from "../session-action.ts";

export interface SessionStartOptions {
  readonly org?: string;
  readonly id?: string;
  readonly user?: string;
  readonly model?: string;
  readonly budget?: string;
  readonly duration?: string;
  readonly launcher: string;
  readonly repo?: string;
  readonly ref?: string;
  readonly attach?: boolean;
}

const pathOf = (sessionId: string, action = ""): string => `/v1/sessions/${encodeURIComponent(sessionId)}${action}`;
const document = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** `session start`: launches, shows each step, and says how to reach the agent; with `--attach`, opens OpenCode on it. */
export function sessionStart(options: SessionStartOptions): SessionAction {
  return async (context) => {
    const { gateway, json, write } = context;
    if (options.launcher === "none")
      throw new AppError("invalid_request", "--launcher none has no sandbox to start; ask POST /v1/sessions for a key.", {
        param: "--launcher",
      });
    const answer = await gateway.call("POST", "/v1/sessions", {
      body: startBody(options, orgOf(options, context)),
      headers: {
        "idempotency-key": randomUUID(),
        ...(options.repo !== undefined && context.repoToken !== undefined && { "x-repo-token": context.repoToken }),
      },
    });
    const launching = launchedSessionSchema.parse(answer);
    for await (const event of gateway.events(launching.session_id, "ready")) if (!json) await write(eventLine(event));
    const session = await readSession(gateway, launching.session_id);
    if (session.sandbox?.state !== "ready") throw launchFailure(session);
    const ready: LaunchedSession = {
      ...launching,
      state: session.state,
      sandbox: session.sandbox,
      agent: { ...launching.agent, url: session.sandbox.url },
    };
    await write(json ? document(ready) : readyText(ready));
    return options.attach === true ? attach(context, ready) : EXIT.done;
  };
}

/** Throws `invalid_request` where nobody says whose session it is. */
function orgOf({ org }: { readonly org?: string }, { orgId }: SessionContext): string {
  const id = org ?? orgId;
  if (id === undefined)
    throw new AppError("invalid_request", "Whose session is it? Give --org ID, the organization that pays.", { param: "--org" });
  return id;
}

function startBody(options: SessionStartOptions, orgId: string): object {
  return {
    org_id: orgId,
    launcher: options.launcher,
    session_id: options.id,
    user_id: options.user,
    model: options.model,
    max_budget_usd: options.budget,
    duration: options.duration,
    ...(options.repo !== undefined && { repo: { url: options.repo, ref: options.ref } }),
  };
}

function launchFailure({ session_id: sessionId, failure }: Session): AppError {
  if (failure && failure.code in ERROR_CODES) return new AppError(failure.code as ErrorCode, failure.message);
  return new AppError("sandbox_launch_cancelled", `Session ${sessionId} was ended while its sandbox was launched.`);
}

const readyText = ({ session_id: sessionId, agent, expires_at: expiresAt }: LaunchedSession): string =>
  table([
    ["Session"],
    ["id", sessionId],
    ["agent", agent.url ?? "–"],
    ["user", agent.username],
    ["password", `${agent.password} (shown this once)`],
    ["expires", expiresAt ?? "–"],
  ]);

/** The password goes by the environment: arguments are seen by every user of the machine. */
async function attach({ opencode, environment }: SessionContext, { agent, session_id: sessionId }: LaunchedSession): Promise<ExitStatus> {
  const [program = "", ...args] = opencode;
  const child = spawn(program, [...args, "attach", agent.url ?? ""], {
    stdio: "inherit",
    env: { ...environment, OPENCODE_SERVER_PASSWORD: agent.password },
  });
  const status = await new Promise<number | null>((done, fail) => {
    child.once("error", (error) =>
      fail(
        new AppError(
          "invalid_request",
          `${program} could not be started here (${(error as NodeJS.ErrnoException).code}). Install it (npm install -g opencode-ai), ` +
            `name it in OPENCODE_COMMAND, or start the stack with --opencode, which fetches it. Session ${sessionId} runs on; \`./scripts/session end ${sessionId}\` ends it.`,
          { param: "OPENCODE_COMMAND", cause: error },
        ),
      ),
    );
    child.once("close", done);
  });
  return status === 0 ? EXIT.done : EXIT.failed;
}

/** `session list`: the newest, of one organization. */
export function sessionList(options: { readonly org?: string; readonly limit?: string }): SessionAction {
  return async (context) => {
    const { gateway, json, write } = context;
    const orgId = orgOf(options, context);
    const query = new URLSearchParams({ org_id: orgId, ...(options.limit !== undefined && { limit: options.limit }) });
    const page = sessionListResponseSchema.parse(await gateway.call("GET", `/v1/sessions?${query}`));
    await write(json ? document(page) : page.sessions.map(sessionLine).join("") || `${orgId} has no sessions.\n`);
    return EXIT.done;
  };
}

function sessionLine(session: SessionListResponse["sessions"][number]): string {
  const { created_at: createdAt, sandbox, launcher, model, session_id: sessionId, failure } = session;
  const state = session.state === "active" && sandbox ? sandbox.state : session.state;
  return `${createdAt}  ${state.padEnd(9)}  ${launcher.padEnd(5)}  ${model}  ${sessionId}${failure ? `  ${failure.code}` : ""}\n`;
}

/** `session logs`: what the session went through; with `--follow`, until it ends; with `--agent`, what its agent wrote last. */
export function sessionLogs(sessionId: string, options: { readonly follow?: boolean; readonly agent?: boolean }): SessionAction {
  return async ({ gateway, json, write }) => {
    if (options.agent === true) {
      const log = await gateway.text(pathOf(sessionId, "/log"));
      await write(json ? document({ session_id: sessionId, log }) : log);
      return EXIT.done;
    }
    for await (const event of gateway.events(sessionId, options.follow === true ? "ended" : "ready"))
      await write(json ? `${JSON.stringify(event)}\n` : eventLine(event));
    return EXIT.done;
  };
}

function eventLine({ occurred_at: occurredAt, type, facts: { agent_log: agentLog, ...facts } }: SessionEvent): string {
  const details = Object.entries(facts).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const lastWords = typeof agentLog === "string" ? agentLog.split("\n").map((line) => `    | ${line}\n`) : [];
  return `${occurredAt}  ${[type.padEnd(18), ...details].join("  ").trimEnd()}\n${lastWords.join("")}`;
}

/** `session cost`: so far, by model. */
export function sessionCost(sessionId: string): SessionAction {
  return async ({ gateway, json, write }) => {
    const cost = sessionCostSchema.parse(await gateway.call("GET", pathOf(sessionId, "/cost")));
    await write(json ? document(cost) : costText(cost));
    return EXIT.done;
  };
}

const costText = (cost: SessionCost): string =>
  table([
    [`Session ${cost.session_id}`],
    [
      "spent",
      `${dollars(cost.spend_usd)} in ${cost.requests} requests${cost.max_budget_usd === null ? "" : `, of ${dollars(cost.max_budget_usd)}`}`,
    ],
    ["in flight", `${dollars(cost.reserved_usd)} at most`],
    ...cost.by_model.map(
      (model) =>
        [
          model.model,
          `${dollars(model.spend_usd)} in ${model.requests} requests, ${model.prompt_tokens} tokens in, ${model.completion_tokens} out`,
        ] as const,
    ),
  ]);

/** `session end`. */
export function sessionEnd(sessionId: string): SessionAction {
  return async ({ gateway, json, write }) => {
    const ended = sessionSchema.omit({ billed: true, unbilled_spend_usd: true }).parse(await gateway.call("DELETE", pathOf(sessionId)));
    await write(
      json
        ? document(ended)
        : `Session ${ended.session_id} ${ended.state === "ended" ? "has ended" : "is ending; it does so by itself"}.\n`,
    );
    return EXIT.done;
  };
}

const readSession = async (gateway: GatewayConnection, sessionId: string): Promise<Session> =>
  sessionSchema.parse(await gateway.call("GET", pathOf(sessionId)));
