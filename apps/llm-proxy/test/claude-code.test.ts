import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/**
 * The real Claude Code on models of another API, where `TEST_CLAUDE_CODE` is the path of its program (`node_modules/.bin/claude` of an installed
 * `@anthropic-ai/claude-code`; 2.1.332 was run). It needs no network beyond the proxy.
 */
const program = process.env["TEST_CLAUDE_CODE"];

describe.runIf(program)("Claude Code", () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack();
  });
  afterAll(() => stack.stop());

  /** Runs it once in a folder and a home of its own; what it asked of the provider comes with it. */
  async function run(prompt: string, model: string, environment: Readonly<Record<string, string>> = {}) {
    const before = stack.provider.requests.length;
    const folder = await mkdtemp(join(tmpdir(), "claude-code-"));
    const child = spawn(program ?? "", ["-p", prompt, "--model", model, "--allowedTools", "Bash"], {
      cwd: folder,
      env: {
        PATH: process.env["PATH"],
        HOME: folder,
        ANTHROPIC_BASE_URL: stack.proxy.url,
        ANTHROPIC_API_KEY: stack.key,
        ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        ...environment,
      },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: patience(60_000),
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    await rm(folder, { recursive: true, force: true });
    await untilNothingIsInFlight(stack);
    return { code, text, asked: stack.provider.requests.slice(before) };
  }

  test.each(["gpt-5", "gpt-4o"])("issue 12: runs a loop of its own tools on %s, which is translated", async (model) => {
    const { code, text, asked } = await run("Please use the Bash tool to run `echo from-$((40+2))`", model);
    const rows = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().where("model", "=", `openai/${model}`).execute();

    expect([code, text]).toEqual([0, expect.stringContaining("from-42")]);
    expect(new Set(asked.map(({ path }) => path))).toEqual(new Set(["/v1/chat/completions"]));
    expect(asked.length).toBeGreaterThan(1);
    expect(rows.length).toBe(asked.length);
    expect(new Set(rows.map(({ call_type, status }) => `${call_type} ${status}`))).toEqual(new Set(["anthropic_messages success"]));
  });
});
