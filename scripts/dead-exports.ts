import { Modules } from "./modules.ts";

/**
 * Exports that nobody needs. A use is an import by another file, over package maps and index files. An index uses what it hands on, and
 * somebody has to ask the index for it. Tests are users of what stands for tests and of scripts; of product code they may call a part
 * alone that its own file uses, too, and no index hands out anything for them.
 */

/** Tests, what they share, and the stand-ins, which are for tests alone. */
const isForTests = (path: string): boolean => /\.test\.ts$|\/test\/|\/test-[a-z-]+\.ts$|^packages\/testing\/|^vitest\./.test(path);

/** An export without a use, and what is wrong with it. */
interface DeadExport {
  readonly path: string;
  readonly name: string;
  readonly why: "nobody imports it" | "only tests import it, and nothing of its own file uses it" | "an index hands it to tests alone";
}

/** Every dead export of these files; names that `isPublished` says are for readers outside are alive. */
export function deadExports(
  texts: ReadonlyMap<string, string>,
  isPublished: (path: string, name: string) => boolean = () => false,
): readonly DeadExport[] {
  const modules = new Modules(texts);
  const files = [...texts.keys()].filter((path) => path.endsWith(".ts"));
  const users = usersOf(modules, files);
  return files.flatMap((path) => {
    const handedOn = new Set(modules.importsOf(path).flatMap(({ exportedAs }) => exportedAs ?? []));
    return modules
      .exportsOf(path)
      .filter((name) => !isPublished(path, name))
      .flatMap((name): readonly DeadExport[] => {
        const by = users.get(`${path}#${name}`) ?? [];
        if (by.length === 0) return [{ path, name, why: "nobody imports it" }];
        if (isForTests(path) || path.startsWith("scripts/") || !by.every(isForTests)) return [];
        if (handedOn.has(name)) return [{ path, name, why: "an index hands it to tests alone" }];
        if (isNamedTwice(texts.get(path) ?? "", name)) return [];
        return [{ path, name, why: "only tests import it, and nothing of its own file uses it" }];
      });
  });
}

/** Who imports which export of which file: of the file that was asked, and of the one that declares it. */
function usersOf(modules: Modules, files: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const users = new Map<string, string[]>();
  for (const path of files) {
    for (const { asked, name, declaration } of modules.namesImportedBy(path)) {
      for (const key of new Set([`${asked}#${name}`, `${declaration.path}#${declaration.name}`])) {
        users.set(key, [...(users.get(key) ?? []), path]);
      }
    }
  }
  return users;
}

/** Whether a file uses a name beside declaring it; what stands in comments is no use. */
function isNamedTwice(text: string, name: string): boolean {
  const code = text.replaceAll(/^\s*(\*|\/\/|\/\*).*$/gm, "");
  const overloads = [...code.matchAll(new RegExp(`^export [a-z ]*\\b${name}\\b`, "gm"))].length;
  return [...code.matchAll(new RegExp(`\\b${name}\\b`, "g"))].length > overloads;
}
