import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { runScript, wholeNumber } from "./command-line.ts";

const SCRIPTS = [
  "prove-autumn-faults/main.ts",
  "kill-billing/main.ts",
  "simulate-billing/main.ts",
  "prove/rolling-restart.ts",
  "prove-docs/main.ts",
  "migrate.ts",
  "bench/scale/main.ts",
];

function node(script: string, ...options: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), ...options], (error, stdout, stderr) =>
      done({ status: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

test.each(SCRIPTS)("%s prints its help with status 0, and says with status 2 which option it does not know", async (script) => {
  const [help, short, wrong] = [await node(script, "--help"), await node(script, "-h"), await node(script, "--wrong")];

  expect([help.status, help.stderr, help.stdout.length > 100]).toEqual([0, "", true]);
  expect(short).toEqual(help);
  expect([wrong.status, wrong.stdout]).toEqual([2, ""]);
  expect(wrong.stderr).toMatch(/^Unknown option '--wrong'/);
  expect(wrong.stderr.endsWith(`\n\n${help.stdout}`)).toBe(true);
});

test.each([
  ["prove/rolling-restart.ts", "--callers", "many"],
  ["kill-billing/main.ts", "--kills", "0"],
  ["prove-autumn-faults/main.ts", "--seconds", "5"],
  ["bench/scale/main.ts", "--rows", "1e7"],
])("%s %s %s is refused before anything is begun", async (script, option, value) => {
  const { status, stderr } = await node(script, option, value);

  expect(status).toBe(2);
  expect(stderr).toContain(`${option} must be a whole number from`);
  expect(stderr).toContain(`"${value}"`);
});

test("what is checked is run, and its status is the script's", async () => {
  const argv = vi.spyOn(process, "argv", "get").mockReturnValue(["node", "script", "--count", "7"]);
  onTestFinished(() => argv.mockRestore());
  const ran: number[] = [];
  const status = await runScript({
    help: "none",
    options: { count: { type: "string", default: "1" } },
    check: ({ count }) => wholeNumber("count", count),
    run: async (count) => (ran.push(count), 5),
  });

  expect([status, ran]).toEqual([5, [7]]);
});

test.each(["", "-1", "1.5", "1e3", "11", "٣"])("%j is no whole number from 1 to 10", (text) => {
  expect(() => wholeNumber("count", text, { to: 10 })).toThrow(`--count must be a whole number from 1 to 10, not "${text}"`);
});
