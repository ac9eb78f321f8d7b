import { createAdaptorServer } from "@hono/node-server";
import { openDatabase } from "@proliferate/db";
import { listen, runProcess } from "@proliferate/runtime";
import { createSessionAdmission } from "@proliferate/services/key-budgets/admission";
import { parseLLMProxyConfig } from "@proliferate/shared";
import type { Server } from "node:http";
import { parseGatewayConfig } from "./env.ts";
import { connectLLMProxy } from "./llm-proxy.ts";
import { createServer } from "./server.ts";

await runProcess("gateway", async (lifecycle, logger) => {
  const config = parseGatewayConfig(process.env);
  const proxy = connectLLMProxy(parseLLMProxyConfig(process.env));
  const db = openDatabase({
    connectionString: config.databaseUrl,
    litellmSchema: config.litellmSchema,
    applicationName: "gateway",
    onIdleError: (error) => logger.warn({ error: error.message }, "database.connection_lost"),
  });
  lifecycle.own("database", { stop: () => db.destroy() });
  const admission = config.billingGate === "enforce" ? createSessionAdmission(db) : undefined;
  const app = createServer({ db, logger, proxy, apiTokens: config.apiTokens, defaultModel: config.defaultModel, smallModel: config.smallModel, admission });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const listener = lifecycle.own("http", await listen(server, { port: config.port, portVariable: "GATEWAY_PORT" }));
  return { ports: { gateway: listener.port } };
});
