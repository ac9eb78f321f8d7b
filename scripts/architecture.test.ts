import { expect, test } from "vitest";
import { Modules, readTrackedFiles } from "./modules.ts";

/** The rules of ARCHITECTURE.md that a compiler does not know. Each test lists what breaks its rule, so a failure says where. */

const contents = await readTrackedFiles();
const files = [...contents.keys()];
const sources = files.filter((path) => /^(apps|packages)\/.*\.ts$/.test(path));
const isTest = (path: string): boolean => /\.test\.ts$|\/test\/|\/test-[a-z-]+\.ts$/.test(path);
const textOf = (path: string): string => contents.get(path) ?? "";

/** What a package may depend on; in tests, `testing` too. `scripts` stands above all and may use anything. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "shared": [],
  "runtime": ["shared"],
  "db": ["shared"],
  "testing": ["shared"],
  "metering": ["shared"],
  "conversation": ["shared"],
  "access": ["shared", "db", "metering"],
  "services": ["shared", "db", "metering", "access"],
  // The proxy meters and admits; sessions, the ledger and settlement are no part of a request.
  "llm-proxy": ["shared", "runtime", "db", "metering", "conversation", "access"],
  "gateway": ["shared", "runtime", "db", "metering", "access", "services"],
  "worker": ["shared", "runtime", "db", "metering", "access", "services"],
  "cli": ["shared", "runtime", "db", "services"],
};

interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const folders = files
  .filter((path) => /^(apps|packages)\/[^/]+\/package\.json$/.test(path))
  .map((path) => path.replace(/\/package\.json$/, ""));
const manifestOf = (folder: string): Manifest => JSON.parse(textOf(folder === "." ? "package.json" : `${folder}/package.json`)) as Manifest;
const internalName = (dependency: string): string | undefined => /^@proliferate\/([^/]+)/.exec(dependency)?.[1];
const nameOf = (folder: string): string => folder.split("/")[1] ?? "";

const modules = new Modules(contents);
/** Module specifiers of static imports, re-exports and dynamic imports. */
const importsOf = (path: string): readonly string[] => modules.importsOf(path).map(({ specifier }) => specifier);

test("every package is in the arrows, and every arrow has its package", () => {
  expect(folders.map(nameOf).sort()).toEqual(Object.keys(ARROWS).sort());
});

test("no package.json depends upward, sideways, or on an app", () => {
  const wrong = folders.flatMap((folder) => {
    const { dependencies = {}, devDependencies = {} } = manifestOf(folder);
    const allowed = ARROWS[nameOf(folder)] ?? [];
    const inProduct = Object.keys(dependencies).filter(
      (name) => internalName(name) !== undefined && !allowed.includes(internalName(name) ?? ""),
    );
    const inTests = Object.keys(devDependencies).filter(
      (name) => internalName(name) !== undefined && ![...allowed, "testing"].includes(internalName(name) ?? ""),
    );
    return [...inProduct, ...inTests].map((name) => `${folder} → ${name}`);
  });
  expect(wrong).toEqual([]);
});

test("no import goes against the arrows or reaches into another package's folder", () => {
  const wrong = sources.flatMap((path) => {
    const [kind = "", name = ""] = path.split("/");
    const allowed = [name, ...(ARROWS[name] ?? []), ...(isTest(path) ? ["testing"] : [])];
    return importsOf(path)
      .filter((specifier) => {
        const internal = internalName(specifier);
        if (internal !== undefined) return !allowed.includes(internal);
        return specifier.startsWith(".") && !new URL(specifier, `file:///${path}`).pathname.startsWith(`/${kind}/${name}/`);
      })
      .map((specifier) => `${path} imports ${specifier}`);
  });
  expect(wrong).toEqual([]);
});

/** Where a file stands: its folder; one that lies directly in `src` stands alone. */
const roomOf = (path: string): string => (/^(apps|packages)\/[^/]+\/src\/[^/]+$/.test(path) ? path : path.replace(/\/[^/]+$/, ""));

/** What folders import, product code only: an edge for each pair, with one import that makes it. */
function folderGraph(): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const graph = new Map<string, Map<string, string>>();
  for (const path of sources.filter((source) => source.includes("/src/") && !isTest(source))) {
    for (const specifier of importsOf(path).filter((name) => name.startsWith("."))) {
      const target = new URL(specifier, `file:///${path}`).pathname.slice(1);
      if (roomOf(target) === roomOf(path) || isTest(target)) continue;
      const edges = graph.get(roomOf(path)) ?? new Map<string, string>();
      graph.set(roomOf(path), edges.set(roomOf(target), `${path} imports ${target}`));
    }
  }
  return graph;
}

test("the folders of each package make a tree of arrows: none imports, over whatever others, one that imports it", () => {
  const graph = folderGraph();
  const reach = (from: string, seen = new Set<string>()): ReadonlySet<string> => {
    for (const next of graph.get(from)?.keys() ?? []) if (!seen.has(next)) reach(next, seen.add(next));
    return seen;
  };
  const closing = [...graph].flatMap(([from, edges]) => [...edges].filter(([to]) => reach(to).has(from)).map(([, example]) => example));

  expect(graph.size).toBeGreaterThan(40);
  expect(closing).toEqual([]);
});

/** The noun's folder that a file of these packages stands in. */
const nounOf = (path: string): string | undefined => /^packages\/(?:services|access|metering)\/src\/[^/]+(?=\/)/.exec(path)?.[0];

test("code rooms: a noun opens by its index.ts, to its neighbours and to other packages", () => {
  const wrong = files
    .filter((path) => path.endsWith(".ts") && !(isTest(path) && path.startsWith("packages/")))
    .flatMap((path) =>
      importsOf(path)
        .map((specifier) => modules.resolve(path, specifier) ?? "")
        .filter((target) => nounOf(target) !== undefined && nounOf(target) !== nounOf(path) && target !== `${nounOf(target)}/index.ts`)
        .map((target) => `${path} imports ${target}`),
    );
  const nouns = new Set(sources.flatMap((path) => nounOf(path) ?? []));
  const doors = [...nouns].map((noun) => `${noun}/index.ts`);
  const plain = /^(?:export (?:type )?\{[^}]*\} from "\.\/[^"]+";\s*)+$/;

  expect(nouns.size).toBeGreaterThan(20);
  expect(wrong).toEqual([]);
  // Named re-exports and nothing else: what is handed out is read there, name by name.
  expect(doors.filter((door) => !plain.test(textOf(door)))).toEqual([]);
});

test("code rooms: what a package opens is listed one by one, and everything listed is asked for", () => {
  const asked = new Set(files.filter((path) => path.endsWith(".ts")).flatMap((path) => importsOf(path)));
  // Published: who asks is outside.
  const closed = folders.filter((folder) => folder !== "packages/shared");
  const wrong = closed.flatMap((folder) => {
    const { name, exports = {} } = manifestOf(folder);
    const isAskedFor = (key: string): boolean => asked.has(key.replace(/^\./, name));
    return Object.keys(exports)
      .filter((key) => (key.includes("*") ? key !== "./test/*" : !isAskedFor(key)))
      .map((key) => `${folder} ${key}`);
  });
  const listed = ["services", "access", "metering"].flatMap((name) => Object.entries(manifestOf(`packages/${name}`).exports ?? {}));
  const doors = listed.filter(([key]) => key !== "./test/*");

  expect(wrong).toEqual([]);
  expect(doors).toEqual(doors.map(([key]) => [key, `./src/${key.slice(2)}/index.ts`]));
});

test("code rooms: no app imports a file of SQL or the builder of statements", () => {
  const forbidden = /^kysely$|^(?:\.|@proliferate\/[^/]+\/).*(?<![^/-])db(?:\.ts)?$/;
  const wrong = sources
    .filter((path) => /^apps\/[^/]+\/src\//.test(path) && !isTest(path))
    .flatMap((path) =>
      importsOf(path)
        .filter((specifier) => forbidden.test(specifier))
        .map((specifier) => `${path} imports ${specifier}`),
    );

  expect(wrong).toEqual([]);
});

test("every library that a package imports is in its package.json, and product code uses no development dependency", () => {
  const wrong = folders.flatMap((folder) => {
    const manifest = manifestOf(folder);
    // The test tools of the whole repository stand in the root's package.json.
    const forTests = { ...manifestOf(".").devDependencies, ...manifest.devDependencies };
    const product = new Set([
      manifest.name,
      ...Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies }),
    ]);
    return sources
      .filter((path) => path.startsWith(`${folder}/`))
      .flatMap((path) => {
        const libraries = importsOf(path).filter((specifier) => !/^(\.|node:|#)/.test(specifier));
        const names = libraries.map((specifier) =>
          specifier
            .split("/")
            .slice(0, specifier.startsWith("@") ? 2 : 1)
            .join("/"),
        );
        const isKnown = (name: string): boolean => product.has(name) || (isTest(path) && name in forTests);
        return names.filter((name) => !isKnown(name)).map((name) => `${path} imports ${name}`);
      });
  });
  expect(wrong).toEqual([]);
});

test.each([
  ["autumn-js", ["packages/services/src/sinks/autumn/autumn-sdk.ts"]],
  ["bullmq", ["apps/worker/src/queue.ts"]],
  ["@ngrok/ngrok", ["scripts/dev-stack/tunnel.ts"]],
  ["modal", ["packages/shared/src/sandbox/modal/sdk.ts"]],
] as const)("%s is imported in one place", (library, places) => {
  const importers = files.filter(
    (path) =>
      path.endsWith(".ts") &&
      !isTest(path) &&
      importsOf(path).some((specifier) => specifier === library || specifier.startsWith(`${library}/`)),
  );

  expect(importers.filter((path) => !(places as readonly string[]).includes(path))).toEqual([]);
});

test("code 1: every HTTP server of the product listens through safeListener, or through the gateway's framework", () => {
  const servers = sources.filter(
    (path) =>
      /^(apps|packages\/(runtime|access|services))\//.test(path) &&
      !isTest(path) &&
      /import \{[^}]*\bcreateServer\b[^}]*\} from "node:https?"/.test(textOf(path)),
  );

  expect(servers.length).toBeGreaterThanOrEqual(3);
  expect(servers.filter((path) => !textOf(path).includes("safeListener("))).toEqual([]);
});

test("code seam 6: what repeats is a loop of packages/runtime, which waits, counts and stops; no setInterval, no timer that sets itself again", () => {
  const repeats = /\bsetInterval\(|setTimeout\(\(\) => \(?(?:\w+ = )?run\(|\.then\(schedule\)/;
  const found = sources.filter((path) => !isTest(path) && repeats.test(textOf(path)));

  expect(found).toEqual([]);
});

test("code seam 6: SQLSTATE codes are read in packages/db and nowhere else", () => {
  // A class that a statement of ours can fail with, and three more characters, alone in quotes and in code.
  const code = /^[^*\n]*["'](?:08|2[1-8]|3D|40|42|5[3-8])[0-9A-Z]{3}["']/m;
  const readers = sources.filter((path) => !isTest(path) && !/^packages\/(db|testing)\//.test(path) && code.test(textOf(path)));

  expect(readers).toEqual([]);
});

test("shared, metering, conversation and the testing package load without a database, a queue or a server framework", () => {
  const heavy = /^(pg|kysely|bullmq|ioredis|autumn-js|hono|@hono\/.*)$/;
  const wrong = sources
    .filter((path) => /^packages\/(shared|metering|conversation|testing)\//.test(path) && !isTest(path))
    .flatMap((path) =>
      importsOf(path)
        .filter((name) => heavy.test(name))
        .map((name) => `${path} imports ${name}`),
    );

  expect(wrong).toEqual([]);
});

test("process.env is read at the edge of a process and nowhere else", () => {
  const allowed = [
    /^apps\/[^/]+\/src\/(main|env)\.ts$/,
    /^packages\/testing\/src\/[^/]+\/main\.ts$/,
    // The logger's level before there is a configuration; PATH for a child process; the one line behind shared's free functions.
    /^packages\/runtime\/src\/run-process\.ts$/,
    /^packages\/db\/src\/embedded\.ts$/,
    /^packages\/shared\/src\/llm-proxy\.ts$/,
  ];
  const readers = sources.filter((path) => !isTest(path) && /\bprocess\.env\b/.test(textOf(path)));

  expect(readers.filter((path) => !allowed.some((pattern) => pattern.test(path)))).toEqual([]);
});

test("autumn B1: services call others by outgoing/fetch-whole.ts alone: one deadline for the whole answer, and a bound on its bytes", () => {
  const callers = sources.filter(
    (path) => path.startsWith("packages/services/") && !isTest(path) && /(?<![.\w])fetch\(|AbortSignal\.timeout\(/.test(textOf(path)),
  );

  // The launcher keeps its signal and waits for no answer by it alone.
  expect(callers).toEqual(["packages/services/src/outgoing/fetch-whole.ts", "packages/services/src/sessions/session-launcher.ts"]);
});

test("SQL stands in db.ts, or in a db.ts that was split by noun, and in packages/db", () => {
  const statement =
    /\bsql(?:<[^`]*>)?`|\.(?:selectFrom|insertInto|updateTable|deleteFrom)\(|["'`]\s*(?:select|insert into|update|delete from)\s/;
  const writers = sources.filter((path) => !isTest(path) && !path.startsWith("packages/db/") && statement.test(textOf(path)));

  expect(writers.length).toBeGreaterThan(3);
  expect(writers.filter((path) => !/^packages\/(access|services)\/src\/[a-z-]+\/([a-z-]+-)?db\.ts$/.test(path))).toEqual([]);
});

test("users 09: no test sets a limit of its own: limits are bounds against hanging, and grow with `patience`", () => {
  // Of a test (last argument or option), a poll, vi's waits, or a deadline made by hand.
  const limit =
    /^\s*\}, [\d_]{3,}\);|\btimeout: [\d_]{3,}|\bvi\.wait(For|Until)\(|\bnow\(\) \+ [\d_]{3,};|\.toBeLessThan\([\d_]+\);.*\bms\b|now\(\) - \w+\)\.toBeLessThan\([\d_]/;
  const tests = files.filter(
    (path) => /^(apps|packages|scripts)\/.*\.ts$/.test(path) && isTest(path) && path !== "scripts/architecture.test.ts",
  );
  const wrong = tests.flatMap((path) =>
    textOf(path)
      .split("\n")
      .filter((line) => limit.test(line) && !/data: |timePassesAt/.test(line))
      .map((line) => `${path}: ${line.trim()}`),
  );

  expect(tests.length).toBeGreaterThan(100);
  expect(wrong).toEqual([]);
});

test("no source file is longer than 400 lines, no test longer than 500", () => {
  const long = files
    .filter((path) => path.endsWith(".ts") && !path.includes("/generated/"))
    .filter((path) => textOf(path).split("\n").length - 1 > (isTest(path) ? 500 : 400));

  expect(long).toEqual([]);
});

test("files are named in kebab-case by one concept, never utils, helpers or common", () => {
  const named = files.filter((path) => /^(apps|packages|scripts)\/.*\.ts$/.test(path)).map((path) => path.split("/").at(-1) ?? "");

  expect(named.filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.(test|property\.test|config))?\.ts$/.test(name))).toEqual([]);
  expect(named.filter((name) => /^(utils?|helpers?|common|misc|lib)\./.test(name))).toEqual([]);
});

test("no file names a machine's folder or a package registry's host", () => {
  const machine =
    /(?:^|[\s"'`(=:])\/(?:work|home|Users|root)\/[A-Za-z]|https?:\/\/(?:[a-z0-9-]+\.)*(?:registry|npm|artifactory|nexus)[a-z0-9.-]*(?::\d+)?\/|\bresolution:.*tarball/m;

  expect(files.filter((path) => path !== "scripts/architecture.test.ts" && machine.test(textOf(path)))).toEqual([]);
});

test("every file that the documentation names exists", () => {
  const pages = files.filter((path) => path.endsWith(".md"));
  const missing = pages.flatMap((page) =>
    referencesOf(textOf(page))
      .filter((reference) => !exists(page, reference))
      .map((reference) => `${page} names ${reference}`),
  );

  expect(pages).toEqual(expect.arrayContaining(["README.md", "ARCHITECTURE.md"]));
  expect(missing).toEqual([]);
});

/** Targets of links that stay in the repository, and code spans that look like a file: they end in a known extension. */
function referencesOf(markdown: string): readonly string[] {
  const links = [...markdown.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
    .map(([, target = ""]) => target)
    .filter((target) => !/^([a-z]+:|\/)/.test(target));
  const spans = [...markdown.matchAll(/`([A-Za-z0-9_.-][A-Za-z0-9_./-]*\.(?:ts|sql|sh|md|yml|yaml|json))`/g)].map(([, path = ""]) => path);
  // opencode.json and the like are files of the agent's home, not of this repository.
  return [...links, ...spans].filter((path) => !/opencode\.json$|^dist\//.test(path));
}

/** A path from the root or from the page; in prose also the end of one, as `keys/db.ts` or `authenticate.ts`. */
function exists(page: string, reference: string): boolean {
  const fromPage = new URL(reference, `file:///${page}`).pathname.slice(1);
  const path = reference.replace(/^\.\//, "");
  return files.some(
    (file) => file === path || file === fromPage || file.startsWith(`${fromPage.replace(/\/$/, "")}/`) || file.endsWith(`/${path}`),
  );
}

test("the road knows no dialect, no provider and no family of clients by name: what differs between them stands in their own files", () => {
  const names = /"(?:anthropic|openai)(?:-[a-z]+)?"/;
  const own = /^apps\/llm-proxy\/src\/(?:dialects|providers)\//;
  const wrong = sources
    .filter((path) => path.startsWith("apps/llm-proxy/src/") && !own.test(path) && !isTest(path))
    .flatMap((path) =>
      textOf(path)
        .split("\n")
        .flatMap((line, index) => (names.test(line) && !/^\s*(?:\*|\/\/)/.test(line) ? [`${path}:${index + 1}`] : [])),
    );
  expect(wrong).toEqual([]);
});

test("code 12: no line of a source file is longer than 240 characters, but in the table of errors, whose rows stay one line each", () => {
  const long = sources
    .filter((path) => !isTest(path) && path !== "packages/shared/src/errors/codes.ts")
    .flatMap((path) =>
      textOf(path)
        .split("\n")
        .flatMap((line, index) => (line.length > 240 ? [`${path}:${index + 1}`] : [])),
    );

  expect(long).toEqual([]);
});
