import { expect, test } from "vitest";
import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import { queryOf, routeOfPath } from "./paths.ts";

test.each(["/v1/messages", "/messages", "/v1/v1/messages", "/v1/messages/", "/v1/messages?beta=true", "/messages#x"])(
  "%s is the route of messages",
  (target) => {
    expect(routeOfPath(target)).toEqual({ kind: "answer", dialect: anthropicMessages, upstreamPath: "/v1/messages" });
  },
);

test.each([
  ["/", "root"],
  ["/v1/chat/completions", "answer"],
  ["/v1/embeddings", "answer"],
  ["/v1/messages/count_tokens?beta=true", "count_tokens"],
  ["/v1/models?limit=1000", "models"],
  ["/health/liveliness", "liveness"],
  ["/health/readiness", "readiness"],
  ["/key/generate", "management"],
  ["/v1/key/info", "management"],
  ["/spend/logs/v2", "management"],
  ["/v1/v1/v1/messages", "unknown"],
  ["/v1", "unknown"],
  ["/v1/responses", "answer"],
  ["/v1/responses/resp_x", "not_served"],
  ["/v1/responses/resp_x/input_items?limit=3", "not_served"],
  ["/v1/responses/compact", "not_served"],
  ["/v1/responsesx", "unknown"],
  ["/v1/completions", "not_served"],
  ["/v1/images/generations", "not_served"],
  ["/v1/messages/batches/x/results", "not_served"],
  ["/api/hello", "root"],
  ["/v1/api/hello", "root"],
  ["/constructor", "unknown"],
  ["/keys", "unknown"],
])("%s is %s", (target, kind) => {
  expect(routeOfPath(target).kind).toBe(kind);
});

test("a model's id may have a slash, escaped or not, and nonsense stays as it is", () => {
  expect(routeOfPath("/v1/models/anthropic/claude-opus-5-5")).toEqual({ kind: "model", id: "anthropic/claude-opus-5-5" });
  expect(routeOfPath("/v1/models/anthropic%2Fclaude-opus-5-5")).toEqual({ kind: "model", id: "anthropic/claude-opus-5-5" });
  expect(routeOfPath("/v1/models/%zz")).toEqual({ kind: "model", id: "%zz" });
});

test("the query is kept as it came", () => {
  expect(queryOf("/v1/messages?a=%20&b?c")).toBe("?a=%20&b?c");
  expect(queryOf("/v1/messages")).toBe("");
});
