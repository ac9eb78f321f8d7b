import { expect, test } from "vitest";
import { ERROR_CODES, type ErrorCode } from "./codes.ts";
import { type Client, clientOf, REFUSAL_KINDS, type RefusalKind, refusalOf, REFUSALS, retryAfterOf } from "./refusals.ts";

const CLIENTS = ["codex", "opencode", "other"] as const;
const statuses = (kind: RefusalKind): readonly string[] =>
  CLIENTS.map((client) => {
    const { status, retryable, openaiType } = REFUSALS[kind][client];
    return `${client} ${status} ${retryable ? "again" : "no"} ${openaiType}`;
  });

test.each<[RefusalKind, readonly string[]]>([
  ["money", ["codex 429 no insufficient_quota", "opencode 402 no insufficient_quota", "other 402 no insufficient_quota"]],
  ["long_window", ["codex 429 no insufficient_quota", "opencode 402 no insufficient_quota", "other 429 no rate_limit_exceeded"]],
  ["month_of_hub", ["codex 402 no insufficient_quota", "opencode 402 no insufficient_quota", "other 402 no insufficient_quota"]],
  ["short_wait", ["codex 429 again rate_limit_exceeded", "opencode 429 again rate_limit_exceeded", "other 429 again rate_limit_exceeded"]],
  ["store", ["codex 503 again api_error", "opencode 503 again api_error", "other 503 again api_error"]],
  ["other_dialect", ["codex 404 no invalid_request_error", "opencode 400 no invalid_request_error", "other 404 no invalid_request_error"]],
  ["unknown_model", ["codex 404 no invalid_request_error", "opencode 400 no invalid_request_error", "other 404 no invalid_request_error"]],
])("%s", (kind, expected) => {
  expect(statuses(kind)).toEqual(expected);
});

test("OpenCode, which repeats each 429 for ever, gets one only where a short wait helps", () => {
  const kinds = Object.entries(REFUSALS) as [RefusalKind, (typeof REFUSALS)[RefusalKind]][];

  expect(kinds.filter(([, { opencode }]) => opencode.status === 429).map(([kind]) => kind)).toEqual(["short_wait"]);
});

test("to everybody else a refusal is what the row of its code says", () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const { status, retryable, anthropicType, openaiType } = ERROR_CODES[code];
    expect([code, refusalOf(code, "other")]).toEqual([code, { status: status || 500, retryable, anthropicType, openaiType }]);
  }
});

test("what is in no kind is told to all clients alike that stop at every status", () => {
  const codes = (Object.keys(ERROR_CODES) as ErrorCode[]).filter((code) => REFUSAL_KINDS[code] === undefined);

  expect(codes.length).toBeGreaterThan(50);
  for (const code of codes) expect([code, refusalOf(code, "opencode")]).toEqual([code, refusalOf(code, "other")]);
});

test("clients F8, 12: LiteLLM's client is told nothing that is not worth a retry by a status that it repeats", () => {
  const told = (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => ({
    code,
    ...refusalOf(code, "litellm"),
    to: refusalOf(code, "other"),
  }));

  const understood = [400, 401, 404, 422, 429];
  expect(told.filter(({ status, retryable, to }) => !retryable && !understood.includes(status) && to.status < 500)).toEqual([]);
  expect(told.filter(({ status, retryable, to }) => retryable && status !== to.status)).toEqual([]);
  expect(told.find(({ code }) => code === "budget_exceeded")).toMatchObject({ status: 400, openaiType: "insufficient_quota" });
  expect(told.find(({ code }) => code === "model_not_allowed")).toMatchObject({ status: 400, anthropicType: "permission_error" });
});

test("clients 12: Codex, which repeats a 403, is told a model that it may not use by a status at which it stops, and its key as to everybody", () => {
  expect([refusalOf("model_not_allowed", "codex").status, refusalOf("expired_api_key", "codex").status]).toEqual([400, 401]);
  // With 400 it would not go on by POST.
  expect(refusalOf("websocket_not_served", "codex").status).toBe(426);
  expect(refusalOf("internal_error", "codex")).toEqual(refusalOf("internal_error", "other"));
});

test.each<[string | undefined, Client]>([
  ["codex_cli_rs/0.50.0 (Linux)", "codex"],
  ["codex/1", "codex"],
  ["opencode/1.18.33", "opencode"],
  ["litellm/1.81.10", "litellm"],
  ["claude-cli/2.1.197 (external, cli)", "other"],
  ["my opencode/1", "other"],
  ["OpenAI/JS 7.55.0", "other"],
  ["OpenAI/Python 2.20.0", "other"],
  [undefined, "other"],
])("%s is the client %s", (userAgent, client) => {
  expect(clientOf({ "user-agent": userAgent })).toBe(client);
});

test("LiteLLM's client is known by OpenAI's library that is called for the raw answer", () => {
  expect(clientOf({ "user-agent": "OpenAI/Python 2.20.0", "x-stainless-raw-response": "true" })).toBe("litellm");
  expect(clientOf({ "user-agent": "OpenAI/JS 7.55.0", "x-stainless-raw-response": "true" })).toBe("other");
});

test("a short wait is asked for in at most a minute; others as they say", () => {
  expect([retryAfterOf("budget_reserved", 3_600), retryAfterOf("budget_reserved", 1), retryAfterOf("budget_reserved", undefined)]).toEqual([
    60,
    1,
    undefined,
  ]);
  expect(retryAfterOf("store_unavailable", 90)).toBe(90);
});
