import { createLocalSandboxProvider } from "@proliferate/shared/sandbox";

/** `local-sandbox-owner.ts ROOT PATH DETACHED`: creates a sandbox with a running program, prints its id, and stays. */
const [rootFolder = "", path = "", detached] = process.argv.slice(2);
const provider = createLocalSandboxProvider({ rootFolder, path, detached: detached === "true" });
const sandbox = await provider.create({
  sessionId: "session-of-owner",
  environment: { TOLD: "by-the-owner" },
  timeoutMs: 3000,
  files: { file: "content" },
});
await sandbox.start(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"], { logPath: "log" });
process.stdout.write(`${sandbox.id}\n`);
setInterval(() => undefined, 60_000);
