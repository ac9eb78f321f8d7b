import { execFile } from "node:child_process";
import { access, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { promisify } from "node:util";

/** The release whose behaviour the table of fields states. 1.82.7, 1.82.8 and 1.107.0 were reported as compromised. */
export const LITELLM_VERSION = "1.104.0";
const PYTHON_PACKAGES = [`litellm[proxy]==${LITELLM_VERSION}`, "prisma==0.15.0"];
const NODE_PACKAGES = [
  "prisma@5.17.0",
  "@prisma/client@6.9.0",
  "@prisma/adapter-pg@6.9.0",
  "@prisma/driver-adapter-utils@6.9.0",
  "pg@8.16.0",
  "graphql@16.11.0",
];
/** What the Python client expects of its query engine. */
const ENGINE_VERSION = "393aa359c9ad4a4bb28630fb5613f9c281cde053";
const QUERY_ENGINE = fileURLToPath(new URL("query-engine.ts", import.meta.url));
const INSTALL_TIMEOUT_MS = 900_000;

/** A real LiteLLM on this machine's disk. */
export interface LitellmInstallation {
  /** Its command `litellm`. */
  readonly program: string;
  /** Folders of migrations, each with a `migration.sql`, in the order of their names. */
  readonly migrationsFolder: string;
  /** What the program must find in its environment to reach its database. */
  readonly environment: Readonly<Record<string, string>>;
}

const run = async (program: string, argv: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<string> =>
  (await promisify(execFile)(program, [...argv], { ...options, timeout: INSTALL_TIMEOUT_MS, maxBuffer: 1 << 26 })).stdout.trim();

/**
 * Installs LiteLLM from the registries of Python and npm into a folder, once: a second call uses what is there. Throws an Error with
 * the installer's own words, and leaves no folder behind, where one of them fails.
 */
export async function installLitellm(toolsFolder: string, announce: (line: string) => void): Promise<LitellmInstallation> {
  const folder = join(toolsFolder, `litellm-${LITELLM_VERSION}`);
  const finished = join(folder, "installed");
  const isThere = await access(finished).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    announce(`installing litellm ${LITELLM_VERSION} from PyPI, its database client from PyPI and npm (about 750 MB, once)`);
    try {
      await install(folder);
      await writeFile(finished, "");
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw new Error(`LiteLLM could not be installed: ${(error as { stderr?: string }).stderr || String(error)}`, { cause: error });
    }
  }
  const python = join(folder, "python", "bin", "python");
  const packages = await run(python, ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]);
  return {
    program: join(folder, "python", "bin", "litellm"),
    migrationsFolder: join(packages, "litellm_proxy_extras", "migrations"),
    environment: engineVariables(folder),
  };
}

async function install(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const python = join(folder, "python", "bin", "python");
  await run("python3", ["-m", "venv", join(folder, "python")]);
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...PYTHON_PACKAGES]);
  await run("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", ...NODE_PACKAGES]);
  await writeFile(engineOf(folder), `#!/bin/sh\nexec "${process.execPath}" "${QUERY_ENGINE}" "$@"\n`, { mode: 0o755 });
  await generateClient(folder, python);
}

/** What `prisma generate` makes of LiteLLM's schema: without `binaryTargets`, as there is nothing to fetch for them. */
async function generateClient(folder: string, python: string): Promise<void> {
  const packages = await run(python, ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]);
  const schema = await readFile(join(packages, "litellm", "proxy", "schema.prisma"), "utf8");
  const adapted = schema
    .replace(/^ *binaryTargets.*\n/m, "")
    .replace('provider = "prisma-client-py"', () => `provider = "${python} -m prisma"`);
  await writeFile(join(folder, "schema.prisma"), adapted);
  await run(
    process.execPath,
    [join(folder, "node_modules", "prisma", "build", "index.js"), "generate", "--schema", join(folder, "schema.prisma")],
    { cwd: folder, env: { ...process.env, ...engineVariables(folder) } },
  );
}

const engineOf = (folder: string): string => join(folder, "query-engine");

/** Nothing is fetched where these name a file; only the first is ever run. */
function engineVariables(folder: string): Readonly<Record<string, string>> {
  const engine = engineOf(folder);
  return {
    PRISMA_QUERY_ENGINE_BINARY: engine,
    PRISMA_QUERY_ENGINE_LIBRARY: engine,
    PRISMA_SCHEMA_ENGINE_BINARY: engine,
    PRISMA_BINARY_CACHE_DIR: folder,
    PRISMA_EXPECTED_ENGINE_VERSION: ENGINE_VERSION,
    ENGINE_PACKAGES: folder,
  };
}
