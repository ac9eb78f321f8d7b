import { runProcess } from "@proliferate/runtime";
import { parseLLMProxyConfig } from "@proliferate/shared";
import { parseGatewayConfig } from "../src/env.ts";
import { startGateway } from "../src/start-gateway.ts";

/** For tests only: `killed-gateway.ts VARIABLES STEP SESSION` is a gateway that dies as with kill -9 when the session reaches the step. */
const [variables = "{}", fatalStep = "", fatalSession = ""] = process.argv.slice(2);
const environment = JSON.parse(variables) as Record<string, string>;

await runProcess("gateway", async (lifecycle, logger) => ({
  ports: await startGateway(
    {
      config: parseGatewayConfig(environment),
      proxy: parseLLMProxyConfig(environment),
      onStep: (step, sessionId) => {
        if (step === fatalStep && sessionId === fatalSession) process.kill(process.pid, "SIGKILL");
      },
    },
    lifecycle,
    logger,
  ),
}));
