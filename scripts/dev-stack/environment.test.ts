import { expect, test } from "vitest";
import { parseDevStackEnvironment } from "./environment.ts";

test("a tunnel refuses to start with a shared management API", () => {
  expect(() => parseDevStackEnvironment({ LLM_PROXY_MANAGEMENT: "shared", NGROK_AUTHTOKEN: "2abc" })).toThrow(
    /tunnel would show the management API to everybody/,
  );
  expect(parseDevStackEnvironment({ LLM_PROXY_MANAGEMENT: "shared" }).LLM_PROXY_MANAGEMENT).toBe("shared");
});

test("LLM_PROXY_URL alone is told all that is missing at once", () => {
  expect(() => parseDevStackEnvironment({ LLM_PROXY_URL: "https://tunnel.example.com" })).toThrow(
    /LLM_PROXY_MASTER_KEY is not.*\n.*DATABASE_URL is not/,
  );
});
