import { runProcess } from "@proliferate/runtime";
import { parseLLMProxyConfig } from "@proliferate/shared";
import { parseGatewayConfig } from "./env.ts";
import { startGateway } from "./start-gateway.ts";

await runProcess("gateway", async (lifecycle, logger) => ({
  ports: await startGateway({ config: parseGatewayConfig(process.env), proxy: parseLLMProxyConfig(process.env) }, lifecycle, logger),
}));
