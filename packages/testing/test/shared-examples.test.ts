import { execFile } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { expect, it } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const shared = join(here, "../../shared");

interface Example {
  readonly name: string;
  readonly code: string;
}

function examplesIn(file: string): Example[] {
  const text = readFileSync(join(shared, file), "utf8").replaceAll(/^[ ]\*[ ]?/gm, "");
  return [...text.matchAll(/```ts\n(.*?)```/gs)].map((match, index) => ({ name: `${file} ${index + 1}`, code: match[1] ?? "" }));
}

/** What stands behind `// ` on a line that prints. */
const promised = (code: string): string => [...code.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm)].map((match) => match[1]).join("\n");

const examples = [
  ...globSync("src/**/*.ts", { cwd: shared })
    .toSorted()
    .filter((file) => !file.endsWith(".test.ts")),
  "README.md",
].flatMap(examplesIn);

it("finds the examples", () => {
  expect(examples.length).toBeGreaterThanOrEqual(5);
});

it.each(examples)("the example in $name prints what its comments promise", async ({ code }) => {
  const proxy = await startLiteLLMStandIn();
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module-typescript", "--eval", code], {
    cwd: here,
    env: { LLM_PROXY_URL: proxy.url, LLM_PROXY_MASTER_KEY: proxy.masterKey },
  });

  expect(stdout.trimEnd()).toBe(promised(code));
  await proxy.stop();
});
