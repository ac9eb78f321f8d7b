import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCommandLine } from "../src/command-line.ts";

async function print(...argv: readonly string[]): Promise<{ readonly status: number; readonly text: string }> {
  let text = "";
  const status = await runCommandLine(argv, {
    environment: {},
    write: async (chunk) => void (text += chunk),
    writeError: (chunk) => void (text += chunk),
  });
  return { status, text };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "completion-"));
  for (const group of ["billing", "session"]) await writeFile(join(folder, group), (await print(group, "completion", "bash")).text);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What Bash offers for the last word of a line, as its own completion would ask the function. */
function complete(...words: readonly string[]): Promise<readonly string[]> {
  const group = words[0]?.split("/").at(-1) ?? "";
  const program = `source "$1"; shift; [ "$(complete -p ${group})" = "complete -F _llm_gateway_${group} ${group}" ] || exit 9
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _llm_gateway_${group}; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return new Promise((done, fail) => {
    execFile("bash", ["--norc", "-c", program, "bash", join(folder, group), ...words], (error, stdout) =>
      error ? fail(error) : done(stdout.split("\n").filter((line) => line !== "")),
    );
  });
}

describe("users 14: a shell completes what there is", () => {
  test("commands of a group, by what was typed of them", async () => {
    expect(await complete("./scripts/billing", "re")).toEqual(expect.arrayContaining(["reconcile", "redrive", "reprice", "retire-month"]));
    expect(await complete("./scripts/billing", "stat")).toEqual(["status"]);
    expect(await complete("./scripts/session", "st")).toContain("start");
  });

  test("commands of a command, its options, and its options after its arguments", async () => {
    expect(await complete("./scripts/billing", "org", "l")).toEqual(["list"]);
    expect(await complete("./scripts/billing", "explain", "r_1", "--s")).toEqual(["--stack"]);
    expect(await complete("./scripts/billing", "export", "--org", "status", "--fr")).toEqual(["--from"]);
  });

  test("values where there are few, and nothing made up where they are free", async () => {
    expect(await complete("./scripts/session", "start", "--launcher", "")).toEqual(["local", "modal"]);
    expect(await complete("./scripts/billing", "export", "--org", "")).toEqual([]);
    expect(await complete("./scripts/billing", "completion", "")).toEqual(expect.arrayContaining(["bash", "zsh"]));
  });

  test("every command that the help names, to the last", async () => {
    for (const group of ["billing", "session"]) {
      const { text } = await print(group, "--help");
      const named = [...(text.split("Commands:")[1] ?? "").matchAll(/^ {2}([a-z][a-z-]+)/gm)].map(([, name]) => name);

      expect(named.length).toBeGreaterThan(5);
      expect((await complete(group, "")).filter((word) => !word.startsWith("-")).toSorted()).toEqual(
        named.filter((name) => name !== "help").toSorted(),
      );
    }
  });

  test("the script for Zsh has the same places, with what each word is for", async () => {
    const { status, text } = await print("billing", "completion", "zsh");

    expect(status).toBe(0);
    expect(text).toContain("compdef _llm_gateway_billing billing");
    expect(text).toMatch(/'\/org ' ?\) entries=\('list:[^']+'/);
    expect(text).toContain("'/export --org') option=$word ;;");
  });

  test("a shell that nobody completes for is bad input", async () => {
    expect(await print("billing", "completion", "fish")).toMatchObject({ status: 2, text: expect.stringContaining("bash, zsh") });
  });
});
