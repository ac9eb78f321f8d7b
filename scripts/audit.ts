import { execFile } from "node:child_process";
import { glob, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { parse } from "yaml";

/**
 * What we depend on: each package of the lock file is pinned by its content and comes from the registry that npm is set to;
 * each installed one has a licence that may be shipped; and none has an advisory that is not in `ACCEPTED`, as far as the
 * registry answers that question. `node scripts/audit.ts`; status 1 with one line for each finding.
 */

const ROOT = new URL("../", import.meta.url);

/** They ask for the notice to be kept, or for nothing. */
const LICENCES: ReadonlySet<string> = new Set([
  "MIT",
  "ISC",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "CC0-1.0",
  "Unlicense",
  "PostgreSQL",
  "Python-2.0",
  "MIT-0",
  "CC-BY-4.0",
  "WTFPL",
]);

/** Others, by the beginning of the package's name, and why. */
const EXCEPTIONS: readonly (readonly [string, string])[] = [
  // Of the test tool; not in any image and not in @proliferate/shared. It asks for changes to its own files to be published.
  ["lightningcss", "MPL-2.0"],
];

/** Advisories without a fix that reaches us: id, and why they do us no harm. */
const ACCEPTED: Readonly<Record<string, string>> = {};

/** Each package of the lock file that its content does not pin, or that names where it comes from. */
export function findUnpinned(lockFile: string): readonly string[] {
  const { packages } = parse(lockFile) as {
    readonly packages: Readonly<Record<string, { readonly resolution?: { readonly integrity?: string; readonly tarball?: string } }>>;
  };
  return Object.entries(packages).flatMap(([name, { resolution }]) => {
    if (resolution?.tarball !== undefined) return [`${name} comes from ${new URL(resolution.tarball).protocol} instead of the registry`];
    return /^sha512-[A-Za-z0-9+/]{86}==$/.test(resolution?.integrity ?? "") ? [] : [`${name} is not pinned by a sha512 of its content`];
  });
}

/** True when one of the alternatives of an SPDX expression may be shipped, and all of its parts. */
export function isAllowedLicence(expression: string): boolean {
  const alternatives = expression.replaceAll(/[()]/g, "").split(/\s+OR\s+/i);
  return alternatives.some((alternative) => alternative.split(/\s+AND\s+/i).every((licence) => LICENCES.has(licence.trim())));
}

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string | { readonly type?: string };
  readonly licenses?: readonly { readonly type?: string }[];
}

const licenceOf = ({ license, licenses }: Manifest): string =>
  typeof license === "string" ? license : (license?.type ?? licenses?.map(({ type }) => type).join(" OR ") ?? "");

const isException = (name: string, licence: string): boolean =>
  EXCEPTIONS.some(([start, known]) => name.startsWith(start) && licence === known);

async function findLicences(): Promise<{ readonly packages: number; readonly problems: readonly string[] }> {
  const store = new URL("node_modules/.pnpm/", ROOT);
  const seen = new Map<string, string>();
  for await (const file of glob("*/node_modules/{*,@*/*}/package.json", { cwd: store.pathname })) {
    const manifest = JSON.parse(await readFile(new URL(file, store), "utf8")) as Manifest;
    if (manifest.name !== undefined && !manifest.name.startsWith("@proliferate/"))
      seen.set(`${manifest.name}@${manifest.version}`, licenceOf(manifest));
  }
  const problems = [...seen]
    .filter(([name, licence]) => !isAllowedLicence(licence) && !isException(name, licence))
    .map(([name, licence]) => `${name} has the licence ${licence === "" ? "(none stated)" : licence}`);
  return { packages: seen.size, problems };
}

/** Undefined where the registry does not answer. */
async function findAdvisories(): Promise<readonly string[] | undefined> {
  const audit = promisify(execFile)("npx", ["--yes", "pnpm@12.21.0", "audit", "--json"], { cwd: ROOT, maxBuffer: 2 ** 26 });
  const { stdout } = await audit.catch((error: unknown) => error as { readonly stdout?: string });
  try {
    const { advisories } = JSON.parse(stdout ?? "") as {
      readonly advisories: Readonly<
        Record<
          string,
          { readonly github_advisory_id?: string; readonly module_name?: string; readonly severity?: string; readonly title?: string }
        >
      >;
    };
    return Object.entries(advisories)
      .map(([id, advisory]) => ({ id: advisory.github_advisory_id ?? id, ...advisory }))
      .filter(({ id }) => ACCEPTED[id] === undefined)
      .map(({ id, module_name: name, severity, title }) => `${name} has the advisory ${id} (${severity}): ${title}`);
  } catch {
    return undefined;
  }
}

async function main(): Promise<void> {
  const lockFile = await readFile(new URL("pnpm-lock.yaml", ROOT), "utf8");
  const [licences, advisories] = await Promise.all([findLicences(), findAdvisories()]);
  const problems = [...findUnpinned(lockFile), ...licences.problems, ...(advisories ?? [])];
  process.stdout.write(`${licences.packages} installed packages; licences and pins looked at.\n`);
  process.stdout.write(
    advisories === undefined
      ? "ADVISORIES WERE NOT LOOKED AT: the registry does not answer `pnpm audit`. Run it where one does.\n"
      : `${Object.keys(ACCEPTED).length} advisories accepted, by name and reason.\n`,
  );
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
}

if (import.meta.main) await main();
