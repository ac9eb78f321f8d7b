import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { inFlight, NOTHING_IN_FLIGHT, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** What a row says of the input that a provider served. */
const promptTokensOf = (usage: ProviderStandIn["requests"][number]["usage"]): number =>
  usage === undefined ? 0 : usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;

/**
 * The real Codex against a proxy, where `TEST_CODEX` is the path of its program (`node_modules/@openai/codex/bin/codex.js` of an
 * installed `@openai/codex`; 0.171.0 was run). It needs no network beyond the proxy.
 */
const program = process.env["TEST_CODEX"];

describe.runIf(program)("Codex", () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack();
  });
  afterEach(() => stack.provider.clearScripts());
  afterAll(() => stack.stop());

  const ownProvider = (model = "gpt-5"): string =>
    [
      `model = "${model}"`,
      'model_provider = "gateway"',
      "[model_providers.gateway]",
      'name = "gateway"',
      `base_url = "${stack.proxy.url}/v1"`,
      'env_key = "GATEWAY_KEY"',
      'wire_api = "responses"',
    ].join("\n");

  /** Runs it once in a home and a folder of its own. What it asked of the provider comes with it. */
  async function run(config: string, prompt: string, key = stack.key) {
    const before = stack.provider.requests.length;
    const folder = await mkdtemp(join(tmpdir(), "codex-"));
    await writeFile(join(folder, "config.toml"), config);
    const child = spawn(
      process.execPath,
      [program ?? "", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt],
      {
        cwd: folder,
        env: { PATH: process.env["PATH"], HOME: folder, CODEX_HOME: folder, GATEWAY_KEY: key, CODEX_API_KEY: key },
        stdio: ["ignore", "pipe", "pipe"],
        timeout: patience(60_000),
      },
    );
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    await rm(folder, { recursive: true, force: true });
    await untilNothingIsInFlight(stack);
    return { code, text, asked: stack.provider.requests.slice(before) };
  }

  /** The spend rows of a session, oldest first. */
  const rowsOf = (sessionId: unknown) =>
    stack.database.db
      .selectFrom("LiteLLM_SpendLogs")
      .select(["call_type", "status", "prompt_tokens", "completion_tokens"])
      .where("session_id", "=", String(sessionId))
      .orderBy("startTime")
      .execute();

  test("clients F1: answers, with its own tools and a search offered, and its row has what the provider served and its session", async () => {
    const { code, text, asked } = await run(ownProvider(), "Say hello.");
    const [request] = asked;

    expect([code, asked.length]).toEqual([0, 1]);
    expect(text).toContain("You said: Say hello.");
    expect(await rowsOf(request?.headers["session-id"])).toEqual([
      {
        call_type: "aresponses",
        status: "success",
        prompt_tokens: request?.usage?.inputTokens,
        completion_tokens: request?.usage?.outputTokens,
      },
    ]);
  });

  test("clients F1: runs a loop of tools", async () => {
    const { code, text, asked } = await run(ownProvider(), "use the exec_command tool to run `pwd`");

    expect([code, asked.length]).toEqual([0, 2]);
    expect(text).toContain("The tool answered:");
  });

  test.each(["claude-haiku-4-5", "claude-opus-5-5"])("issue 12: runs a loop of its own tools on %s, which is translated", async (model) => {
    const { code, text, asked } = await run(ownProvider(model), "use the exec_command tool to run `pwd`");
    const rows = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().orderBy("startTime", "desc").limit(2).execute();

    expect([code, asked.map(({ path }) => path)]).toEqual([0, ["/v1/messages", "/v1/messages"]]);
    expect(text).toContain("The tool answered:");
    expect(rows.map(({ call_type, status, prompt_tokens }) => [call_type, status, prompt_tokens]).toSorted()).toEqual(
      asked.map(({ usage }) => ["aresponses", "success", promptTokensOf(usage)]).toSorted(),
    );
  });

  test("clients F1: its built-in provider asks for a WebSocket, and goes on by POST", async () => {
    const { code, asked } = await run(`model = "gpt-5"\nopenai_base_url = "${stack.proxy.url}/v1"`, "Say hello.");

    expect([code, asked.map(({ path, stream }) => [path, stream])]).toEqual([0, [["/v1/responses", true]]]);
  });

  test("recovers from a stream that its provider did not end, both of which are on record", async () => {
    stack.provider.failNext({ kind: "end_early", afterFrames: 6 });
    const { code, asked } = await run(ownProvider(), "Say hello.");

    expect([code, asked.length]).toEqual([0, 2]);
    expect((await rowsOf(asked[0]?.headers["session-id"])).map(({ status }) => status)).toEqual(["failure", "success"]);
  });

  test("clients F8: stops at once where the budget is spent, and where there is no such model", async () => {
    const { key } = await mintKey(stack.proxy, { max_budget: 0.000001 });
    const spent = await run(ownProvider(), "Say hello.", key);
    const unknown = await run(ownProvider("gpt-0"), "Say hello.");

    expect(spent.text).toContain("Quota exceeded");
    expect(unknown.text).toContain('There is no model "gpt-0"');
    for (const { text, asked } of [spent, unknown]) expect([text.includes("Reconnecting"), asked]).toEqual([false, []]);
    expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  });
});
