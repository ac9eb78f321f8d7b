import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const FIXTURE = fileURLToPath(new URL("../test/lifecycle-process.ts", import.meta.url));

async function startFixture(behaviour: string): Promise<{ child: ChildProcess; lines: () => string }> {
  const child = fork(FIXTURE, [behaviour], { stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let text = "";
  child.stdout?.on("data", (chunk) => (text += String(chunk)));
  child.stderr?.on("data", (chunk) => (text += String(chunk)));
  if (behaviour !== "fail") await once(child, "message");
  return { child, lines: () => text };
}

/** Status of the process once it has gone and its output was read. (`close` of a disconnected child never comes.) */
async function ended(child: ChildProcess): Promise<number | null> {
  const [[status]] = await Promise.all([once(child, "exit"), child.stdout && once(child.stdout, "close")]);
  return status as number | null;
}

test("SIGTERM stops the parts in reverse order and ends with status 0", async () => {
  const { child, lines } = await startFixture("normal");

  child.kill("SIGTERM");
  const status = await ended(child);

  expect(status).toBe(0);
  expect(lines()).toMatch(/stopped second[^]*stopped first/);
});

test("a process whose parent goes away stops by itself", async () => {
  const { child, lines } = await startFixture("normal");

  child.disconnect();
  const status = await ended(child);

  expect(status).toBe(0);
  expect(lines()).toContain("stopped first");
});

test("a failed start tells code, message and fix, stops what was started, and ends with status 1", async () => {
  const { child, lines } = await startFixture("fail");

  const [message] = await once(child, "message");
  const status = await ended(child);

  expect(message).toMatchObject({ type: "failed", code: "port_in_use" });
  expect(status).toBe(1);
  expect(lines()).toMatch(/Port 1 is taken\. Stop the program[^]*stopped first/);
});
