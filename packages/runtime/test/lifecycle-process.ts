import { AppError } from "@proliferate/shared/errors";
import { runProcess } from "../src/index.ts";

/** A process with two parts, for lifecycle.test.ts. */
const part = (name: string) => ({
  stop: async () => {
    process.stdout.write(`stopped ${name}\n`);
  },
});

await runProcess("fixture", async (lifecycle) => {
  lifecycle.own("first", part("first"));
  if (process.argv[2] === "fail") throw new AppError("port_in_use", "Port 1 is taken.");
  lifecycle.own("second", part("second"));
  const keepAlive = setInterval(() => undefined, 1_000);
  lifecycle.own("timer", { stop: async () => clearInterval(keepAlive) });
  return { ports: { fixture: 1 } };
});
