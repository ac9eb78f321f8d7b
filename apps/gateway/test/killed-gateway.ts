import { runProcess } from "@proliferate/runtime";
import { parseLLMProxyConfig } from "@proliferate/shared";
import { parseGatewayConfig } from "../src/env.ts";
import { startGateway } from "../src/start-gateway.ts";

/**
 * For tests only: `killed-gateway.ts VARIABLES HOLDS` is a gateway whose sessions stop where they are told to, for ever: HOLDS,
 * and later each message `{hold}`, names a step by session, or by `*` for all others. It answers `{held: SESSION}` when one has stopped there, and is
 * then killed by its test. Repairs run twice a second, and what is closed is soon taken for dead.
 */
const [variables = "{}", firstHolds = "{}"] = process.argv.slice(2);
const environment = JSON.parse(variables) as Record<string, string>;
const holds = new Map(Object.entries(JSON.parse(firstHolds) as Record<string, string>));
process.on("message", ({ hold }: { hold: Record<string, string> }) => {
  for (const [sessionId, step] of Object.entries(hold)) holds.set(sessionId, step);
  process.send?.({ armed: true });
});

await runProcess("gateway", async (lifecycle, logger) => ({
  ports: await startGateway(
    {
      config: parseGatewayConfig(environment),
      proxy: parseLLMProxyConfig(environment),
      upkeepEveryMs: 500,
      agentWatch: { refusedMs: 200, limitMs: 500 },
      onStep: (step, sessionId) => {
        if ((holds.get(sessionId) ?? holds.get("*")) !== step) return;
        process.send?.({ held: sessionId });
        return new Promise<void>(() => undefined);
      },
    },
    lifecycle,
    logger,
  ),
}));
