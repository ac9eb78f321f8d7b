import { z } from "zod";
import { durationPattern } from "./key-management.ts";
import { sentAmount } from "./sent-amount.ts";

/** The gateway's HTTP API: sandboxes that it launches for sessions, and what they cost. */

const instant = z.iso.datetime({ offset: true });

/** Who starts the sandbox: the caller (`none`), or the gateway with one of its launchers. */
export const launcherSchema = z.enum(["none", "local", "modal"]);

/** `https`, or `http` on this machine; never with a user or a password in it, as URLs end up in logs and in `.git/config`. */
const repoUrl = z
  .string()
  .max(2_000)
  .superRefine((text, context) => {
    const problem = problemOfRepoUrl(text);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  })
  .describe("https:// URL of a Git repository, without user and password");

function problemOfRepoUrl(text: string): string | undefined {
  const scp = /^(?:[^\s@/:]+@)([A-Za-z0-9.-]+):([\w./~-]+)$/.exec(text);
  if (scp)
    return `must be an https:// URL, here https://${scp[1]}/${scp[2]?.replace(/^\/+/, "")}: a sandbox has no SSH key; a token is sent as the header x-repo-token`;
  const { protocol, hostname, username, password } = URL.canParse(text)
    ? new URL(text)
    : { protocol: "", hostname: "", username: "", password: "" };
  const isOpen = protocol === "http:" && ["127.0.0.1", "localhost"].includes(hostname);
  // Git reads the text, not what became of it here: what a URL parser forgives (blanks, a missing "//") it may not.
  const isPlain = /^https?:\/\/[\x21-\x7e]+$/.test(text);
  if (isPlain && username === "" && password === "" && (protocol === "https:" || isOpen)) return undefined;
  return "must be an https:// URL without user and password; a token is sent as the header x-repo-token";
}

const organizationSecrets = z
  .record(z.string().max(200), z.string().max(100_000))
  .describe("variables of the sandbox; reserved names are refused; stored nowhere");

/** Fields of `POST /v1/sessions` for a sandbox that the gateway launches. */
export const launchRequestFields = {
  launcher: launcherSchema.default("none").describe("who starts the sandbox; none: the caller, with what the answer holds"),
  files: z
    .record(z.string().min(1).max(500), z.string())
    .optional()
    .describe("path below the home directory and content, written before the agent starts"),
  repo: z
    .strictObject({
      url: repoUrl,
      ref: z
        .string()
        .regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/, "must be a branch, a tag or a commit")
        .optional(),
    })
    .optional()
    .describe("cloned into workspace/; a token is sent as the header x-repo-token and never written down"),
  secrets: organizationSecrets.optional(),
};

/** The sandbox of a session that the gateway launched. `url` is null unless the agent is ready. */
export const sandboxSchema = z.object({
  state: z.enum(["launching", "ready", "pausing", "paused", "gone"]),
  step: z.string().nullable().describe("what was done last"),
  sandbox_id: z.string().nullable(),
  url: z.string().nullable().describe("of the agent's server, while it is ready"),
  expires_at: instant.nullable().describe("by then the sandbox ends by itself"),
});

/** Why a session's launch failed: a code of docs/errors.md, and a message without secrets. */
export const sessionFailureSchema = z.object({ code: z.string(), message: z.string() });

/** How to talk to the agent's server: HTTP basic authentication. */
const agentSchema = z.object({
  username: z.string(),
  password: z.string().describe("shown once"),
  url: z.string().nullable().describe("null until it is ready"),
});

/** 202 of `POST /v1/sessions` with a launcher, and of resume; 201 with `?wait=true`. */
export const launchedSessionSchema = z.object({
  session_id: z.string(),
  org_id: z.string(),
  state: z.enum(["starting", "active", "ending", "ended"]),
  resumed: z.boolean(),
  model: z.string(),
  expires_at: instant.nullable(),
  launcher: launcherSchema,
  sandbox: sandboxSchema,
  agent: agentSchema,
  events_url: z.string(),
});
/** {@link launchedSessionSchema}, parsed. It holds the agent's password. */
export type LaunchedSession = z.infer<typeof launchedSessionSchema>;

/** `POST /v1/sessions/{id}/resume`: secrets are not stored, so they are sent again. */
export const resumeSessionRequestSchema = z.strictObject({
  duration: z
    .string()
    .regex(durationPattern, 'must be a number and one of s m h d w mo, such as "24h"')
    .optional()
    .describe("life of the new key, from now; the proxy's default when absent"),
  max_budget_usd: sentAmount.optional().describe("of the whole session, what it has spent included; as before when absent"),
  secrets: organizationSecrets.optional(),
});

/** One event of `GET /v1/sessions/{id}/events`; also its `data` there. */
export const sessionEventSchema = z.object({
  event_id: z.string(),
  type: z.string(),
  occurred_at: instant,
  facts: z.record(z.string(), z.unknown()),
});
/** {@link sessionEventSchema}, parsed: one step of a session. Nothing to do with a billing event. */
export type SessionEvent = z.infer<typeof sessionEventSchema>;

const amount = z.string().describe("USD, exact decimal text");

/** `GET /v1/sessions/{id}/cost`. */
export const sessionCostSchema = z.object({
  session_id: z.string(),
  max_budget_usd: amount.nullable(),
  requests: z.number().int(),
  spend_usd: amount.describe("USD, exact decimal text; on the ledger or not"),
  reserved_usd: amount.describe("USD that requests in flight may cost at most"),
  by_model: z.array(
    z.object({
      model: z.string(),
      requests: z.number().int(),
      prompt_tokens: z.number().int(),
      completion_tokens: z.number().int(),
      spend_usd: amount,
      reserved_usd: amount,
    }),
  ),
});
/** {@link sessionCostSchema}, parsed. */
export type SessionCost = z.infer<typeof sessionCostSchema>;
