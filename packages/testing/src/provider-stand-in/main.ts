import { startProviderStandIn } from "./server.ts";

/**
 * The stand-in as a process of the development stack. Variables: PROVIDER_STAND_IN_PORT (default: any free one),
 * PROVIDER_STAND_IN_API_KEY (default: any key is taken). Reports `{type: "ready", ports: {provider}}` over IPC, as our own
 * processes do, and ends with its parent.
 */
const { PROVIDER_STAND_IN_PORT: port = "0", PROVIDER_STAND_IN_API_KEY: apiKey } = process.env;

try {
  const standIn = await startProviderStandIn({ port: Number(port), journalSize: 100, frameGapMs: 5, ...(apiKey && { apiKey }) });
  const exit = (): void => void standIn.stop().then(() => process.exit(0));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, exit);
  if (process.channel) process.on("disconnect", exit);
  process.stderr.write(`provider stand-in: ${standIn.url}\n`);
  process.send?.({ type: "ready", ports: { provider: standIn.port } });
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  process.stderr.write(`provider stand-in: ${message}\n`);
  const failed = { type: "failed", code: code === "EADDRINUSE" ? "port_in_use" : "internal_error", message };
  if (process.send) process.send(failed, () => process.exit(1));
  else process.exit(1);
}
