import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { exportedNames } from "./docstrings.ts";

/**
 * Which module imports which name of which other: read from the text of TypeScript sources, and followed through the `exports` of
 * package.json and through files that re-export. It reads what the formatter writes, an import or export to a statement that begins
 * its line; a library from outside resolves to nothing.
 */

const ROOT = new URL("../", import.meta.url);

/** Every file that the repository tracks, as it lies in the folder now: its path from the root, and its text. */
export async function readTrackedFiles(): Promise<ReadonlyMap<string, string>> {
  const list = await promisify(execFile)("git", ["ls-files", "-z"], { cwd: ROOT, maxBuffer: 2 ** 26 });
  const contents = new Map<string, string>();
  for (const path of list.stdout.split("\0").filter((one) => one !== "")) {
    // A file that was just deleted or renamed is still in the index.
    const text = await readFile(new URL(path, ROOT), "utf8").catch(() => undefined);
    if (text !== undefined) contents.set(path, text);
  }
  return contents;
}

/** A statement `import … from`, `export … from`, an import for its effect, or a dynamic import. */
interface ImportStatement {
  readonly specifier: string;
  /** The names that it takes, as the imported module calls them; `"*"` where it takes the module whole. */
  readonly names: readonly string[] | "*";
  /** Under which names it hands them on, beside `names`; undefined where it is no re-export. */
  readonly exportedAs: readonly string[] | undefined;
}

const STATEMENT =
  /^(?<word>import|export)\s(?<clause>[\w\s*{},$]*?)\bfrom\s+"(?<from>[^"]+)"|^import\s+"(?<effect>[^"]+)"|(?:\{(?<taken>[\w\s,:]+)\} = await )?\bimport\("(?<dynamic>[^"]+)"\)(?:\)?\.(?<member>\w+))?/gm;

/** The import statements of a source, in order; those in comments are none. */
export function importStatements(source: string): readonly ImportStatement[] {
  const code = source.replaceAll(/^\s*(\*|\/\/|\/\*).*$/gm, "");
  return [...code.matchAll(STATEMENT)].map(({ groups = {} }) => {
    const { word, clause = "", from, effect, dynamic, taken, member } = groups;
    if (effect !== undefined) return { specifier: effect, names: [], exportedAs: undefined };
    if (dynamic !== undefined) {
      const names = taken === undefined ? member : undefined;
      return { specifier: dynamic, names: taken?.split(",").map(importedName) ?? (names ? [names] : "*"), exportedAs: undefined };
    }
    const pairs = namesOf(clause);
    return {
      specifier: from ?? "",
      names: clause.includes("*") ? membersTaken(code, clause) : pairs.map(([imported]) => imported),
      exportedAs: word === "export" ? pairs.map(([, local]) => local) : undefined,
    };
  });
}

/** Of `* as space`, the names that the code takes from it where it takes nothing else; else `"*"`. */
function membersTaken(code: string, clause: string): readonly string[] | "*" {
  const [, space] = /\*\s+as\s+(\w+)/.exec(clause) ?? [];
  if (space === undefined) return "*";
  const uses = [...code.matchAll(new RegExp(`(?<!\\* as |\\.)\\b${space}\\b(?:\\.(\\w+))?`, "g"))].map(([, member]) => member);
  return uses.every((member) => member !== undefined) ? uses : "*";
}

const importedName = (part: string): string => part.split(":")[0]?.trim() ?? "";

/** `one, type Two as Three` of a clause in braces, and a default import before it, as pairs of imported and local name. */
function namesOf(clause: string): readonly (readonly [string, string])[] {
  const inBraces = /\{([^}]*)\}/.exec(clause)?.[1] ?? "";
  const ofDefault = /^(?:type\s+)?(\w+)\s*(?:,|$)/.exec(clause.replace(/\{[^}]*\}/, "").trim())?.[1];
  const named = inBraces
    .split(",")
    .map((part) => part.trim().replace(/^type\s+/, ""))
    .filter((part) => part !== "")
    .map((part) => {
      const [imported = "", local = imported] = part.split(/\s+as\s+/);
      return [imported, local] as const;
    });
  return ofDefault === undefined || ofDefault === "type" ? named : [["default", ofDefault], ...named];
}

/** Where a module's name is declared. */
interface Declaration {
  readonly path: string;
  readonly name: string;
}

/** The modules of one repository: paths from its root, with the text of each TypeScript source and package.json. */
export class Modules {
  readonly #texts: ReadonlyMap<string, string>;
  /** The `exports` of each package by its name, most particular key first. */
  readonly #maps = new Map<string, readonly (readonly [string, string])[]>();
  readonly #imports = new Map<string, readonly ImportStatement[]>();
  readonly #declared = new Map<string, readonly string[]>();

  constructor(texts: ReadonlyMap<string, string>) {
    this.#texts = texts;
    for (const [path, text] of texts) {
      if (!/(^|\/)package\.json$/.test(path)) continue;
      const folder = path.replace(/\/?package\.json$/, "");
      const { name = "", exports = {} } = JSON.parse(text) as { name?: string; exports?: Record<string, string> };
      const entries = Object.entries(exports).map(([key, target]) => [key, `${folder}/${target.replace(/^\.\//, "")}`] as const);
      this.#maps.set(
        name,
        entries.toSorted(([a], [b]) => Number(a.includes("*")) - Number(b.includes("*")) || b.length - a.length),
      );
    }
  }

  /** The statements of a file by which it imports. */
  importsOf(path: string): readonly ImportStatement[] {
    const known = this.#imports.get(path);
    if (known !== undefined) return known;
    const read = importStatements(this.#texts.get(path) ?? "");
    this.#imports.set(path, read);
    return read;
  }

  /** The file that a specifier of `from` means; undefined for a library, a file that is not here, and a path that its package keeps. */
  resolve(from: string, specifier: string): string | undefined {
    if (specifier.startsWith(".")) return this.#present(new URL(specifier, `file:///${from}`).pathname.slice(1));
    const [, name = "", rest = ""] = /^(@[^/]+\/[^/]+|[^@/][^/]*)(?:\/(.+))?$/.exec(specifier) ?? [];
    const wanted = rest === "" ? "." : `./${rest}`;
    for (const [key, target] of this.#maps.get(name) ?? []) {
      const [before = "", after] = key.split("*");
      if (after === undefined ? key === wanted : wanted.startsWith(before) && wanted.endsWith(after)) {
        return this.#present(after === undefined ? target : target.replace("*", wanted.slice(before.length, wanted.length - after.length)));
      }
    }
    return undefined;
  }

  /** The names that a file exports: declared there, or handed on from another file. */
  exportsOf(path: string): readonly string[] {
    const handedOn = this.importsOf(path).flatMap(({ specifier, names, exportedAs }) => {
      if (exportedAs === undefined) return [];
      const target = names === "*" ? this.resolve(path, specifier) : undefined;
      return target === undefined ? exportedAs : this.exportsOf(target);
    });
    return [...this.#declarationsOf(path), ...handedOn];
  }

  /** Where the name that `path` exports is declared, over however many files hand it on; undefined where it exports no such name. */
  declarationOf(path: string, name: string): Declaration | undefined {
    if (this.#declarationsOf(path).includes(name)) return { path, name };
    for (const { specifier, names, exportedAs } of this.importsOf(path)) {
      if (exportedAs === undefined) continue;
      const original = names === "*" ? name : names[exportedAs.indexOf(name)];
      const target = this.resolve(path, specifier);
      if (original === undefined) continue;
      // A library's: here is where the repository begins to know it.
      if (target === undefined && exportedAs.includes(name)) return { path, name };
      const found = target === undefined ? undefined : this.declarationOf(target, original);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Each name that a file imports from within the repository, with the file that it asks and the one that declares the name. */
  namesImportedBy(path: string): readonly { readonly asked: string; readonly name: string; readonly declaration: Declaration }[] {
    return this.importsOf(path).flatMap(({ specifier, names }) => {
      const asked = this.resolve(path, specifier);
      if (asked === undefined) return [];
      return (names === "*" ? this.exportsOf(asked) : names).flatMap((name) => {
        const declaration = this.declarationOf(asked, name);
        return declaration === undefined ? [] : [{ asked, name, declaration }];
      });
    });
  }

  #present(path: string): string | undefined {
    return this.#texts.has(path) ? path : undefined;
  }

  #declarationsOf(path: string): readonly string[] {
    const known = this.#declared.get(path);
    if (known !== undefined) return known;
    const text = this.#texts.get(path) ?? "";
    // `export { Local };` hands on what the file itself imported or declared.
    const listed = [...text.matchAll(/^export (?:type )?(\{[^}]*\});/gm)].flatMap(([, clause = ""]) =>
      namesOf(clause).map(([, exported]) => exported),
    );
    const found = [...exportedNames(text).map(({ name }) => name), ...listed];
    this.#declared.set(path, found);
    return found;
  }
}
