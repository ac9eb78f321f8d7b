import { execFile } from "node:child_process";
import { globSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const shared = join(dirname(fileURLToPath(import.meta.url)), "..");
const root = join(shared, "../..");

let project: string;

async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  const environment = { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}` };
  try {
    return (await promisify(execFile)(command, [...args], { cwd, env: environment })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}

/** The package as it would be published, installed into a project that has nothing else. */
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "proliferate-shared-"));
  const printed = await run("bash", [join(root, "scripts/pack-shared.sh"), project], root);
  const tarball = printed.trimEnd().split("\n").at(-1) ?? "";
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  await run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", tarball], project);
});
afterAll(() => rm(project, { recursive: true, force: true }));

describe("the packed package", () => {
  it("contains the build, the readme and no test", () => {
    const files = globSync("**/*", { cwd: join(project, "node_modules/@proliferate/shared") });

    expect(files).toEqual(expect.arrayContaining(["README.md", "dist/index.js", "dist/index.d.ts", "dist/contracts/index.js"]));
    expect(files.filter((file) => /\.test\.|^src|tsconfig/.test(file))).toEqual([]);
  });

  it("depends on published versions only", async () => {
    const manifest = JSON.parse(await readFile(join(project, "node_modules/@proliferate/shared/package.json"), "utf8"));

    expect(Object.keys(manifest.dependencies)).toEqual(["zod"]);
    expect(JSON.stringify(manifest)).not.toMatch(/workspace:|catalog:|\.\/src/);
  });

  it("works from plain JavaScript through every one of its entries", async () => {
    await writeFile(
      join(project, "plain.js"),
      `
      import { AppError, buildSandboxEnv, createLLMProxyClient, generateSessionAPIKey, getOpencodeConfig, isLLMProxyEnabled } from "@proliferate/shared";
      import { generateKeyRequestSchema } from "@proliferate/shared/contracts";
      import { ERROR_CODES, AppError as SameError } from "@proliferate/shared/errors";
      import { multiplyDecimals } from "@proliferate/shared/money";
      import { parseEnvironment } from "@proliferate/shared/env";
      const failure = await generateSessionAPIKey("session-1", "org-1").catch((error) => error);
      console.log(JSON.stringify([
        isLLMProxyEnabled(), failure.code, AppError === SameError, multiplyDecimals("0.1", "300"), ERROR_CODES[failure.code].retryable,
        generateKeyRequestSchema.parse({ max_budget: 1 }).max_budget, Object.keys(parseEnvironment({}, {})).length, typeof createLLMProxyClient,
        JSON.parse(getOpencodeConfig("anthropic/m")).model, buildSandboxEnv({ sessionId: "s", orgId: "o", apiKey: "sk-virtual", baseUrl: "http://p/v1" }).ORG_ID,
      ]));
      `,
    );

    const { stdout } = await promisify(execFile)(process.execPath, ["plain.js"], { cwd: project, env: {} });

    expect(JSON.parse(stdout)).toEqual([false, "proxy_not_configured", true, "30", false, "1", 0, "function", "anthropic/m", "o"]);
  });

  it("launches local sandboxes as JavaScript, keeper included, and names the package that Modal needs", async () => {
    await writeFile(
      join(project, "launch.js"),
      `
      import { createLocalSandboxProvider } from "@proliferate/shared/sandbox";
      import { createModalSandboxProvider } from "@proliferate/shared/modal";
      const provider = createLocalSandboxProvider({ rootFolder: ${JSON.stringify(join(project, "sandboxes"))}, detached: true });
      const { id } = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: 1000, files: { file: "content" } });
      const sandbox = await provider.find("session-1");
      const { stdout } = await sandbox.exec(["cat", "file"]);
      const modal = createModalSandboxProvider({ tokenId: "ak-x", tokenSecret: "as-x", image: { registryTag: "node:24" } });
      const failure = await modal.find("session-1").catch((error) => error);
      console.log(JSON.stringify([sandbox.id === id, stdout, failure.code, failure.message.includes("modal@0.11.1")]));
      process.exit();
      `,
    );

    const { stdout } = await promisify(execFile)(process.execPath, ["launch.js"], { cwd: project, env: {} });

    expect(JSON.parse(stdout)).toEqual([true, "content", "sandbox_refused", true]);
    await expect.poll(() => readdir(join(project, "sandboxes/sandboxes"))).toEqual([]);
  });

  it("gives TypeScript its types, with which every example of the documentation compiles", async () => {
    const documented = [...globSync("src/**/*.ts", { cwd: shared }), "README.md"].filter((file) => !file.endsWith(".test.ts"));
    let count = 0;
    for (const file of documented) {
      const text = (await readFile(join(shared, file), "utf8")).replaceAll(/^[ ]\*[ ]?/gm, "");
      for (const [, code] of text.matchAll(/```ts\n(.*?)```/gs))
        await writeFile(join(project, `example-${(count += 1)}.ts`), `${code}\nexport {};\n`);
    }
    await writeFile(
      join(project, "wrong.ts"),
      `import { AppError, generateSessionAPIKey, type VirtualKey } from "@proliferate/shared";
       import type { CreateSessionResponse } from "@proliferate/shared/contracts";
       // @ts-expect-error an option that does not exist
       await generateSessionAPIKey("session-1", "org-1", { budget: 1 });
       // @ts-expect-error a code that does not exist
       new AppError("no_such_code", "message");
       // @ts-expect-error a field that does not exist
       export const field = (key: VirtualKey, answer: CreateSessionResponse): string => key.secret + answer.base_url;
      `,
    );
    const compilerOptions = {
      target: "es2022",
      module: "nodenext",
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      types: ["node"],
      typeRoots: [join(root, "node_modules/@types")],
    };
    await writeFile(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));

    expect(count).toBeGreaterThanOrEqual(5);
    expect(await run("tsc", [], project)).toBe("");
  });
});
