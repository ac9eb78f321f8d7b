import { readFile, stat } from "node:fs/promises";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { SINK_ENVIRONMENT } from "@proliferate/services/sinks";
import { parseWorkerConfig } from "@proliferate/worker/env";
import { defaultsOfVariable, ENVIRONMENT_TABLES } from "./environment-tables.ts";

interface Service {
  readonly image?: string;
  readonly build?: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly env_file?: readonly { readonly path: string; readonly required: boolean }[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck?: object;
  readonly profiles?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

const text = await readFile(new URL("../docker-compose.yml", import.meta.url), "utf8");
const { services } = parse(text, { merge: true }) as { readonly services: Readonly<Record<string, Service>> };
const environmentOf = (name: string): Readonly<Record<string, string>> => services[name]?.environment ?? {};
/** Each `${NAME}`, with what stands after the name: `:-default`, `:?message` or nothing. */
const interpolations = (source: string) =>
  [...source.matchAll(/\$\{([A-Z_]+)(:-|:\?)?([^}]*)\}/g)].map(([, name = "", operator = "", rest = ""]) => ({ name, operator, rest }));

const { gateway, shared, worker, engine, providers, migrate, common } = ENVIRONMENT_TABLES;
const readBy: Readonly<Record<string, readonly { readonly shape: object }[]>> = {
  gateway: [gateway, shared, common],
  worker: [worker, shared, common],
  engine: [engine, providers, common],
  migrate: [migrate, common],
};

/** By the C library below Node: docs/operations.md, "Memory of the worker", "Memory of the proxy". */
const READ_BY_MALLOC = /^MALLOC_/;

test.each(Object.entries(readBy))("every variable that the %s is given is one that it reads", (service, tables) => {
  const read = tables.flatMap(({ shape }) => Object.keys(shape));

  expect(Object.keys(environmentOf(service)).filter((name) => !READ_BY_MALLOC.test(name) && !read.includes(name))).toEqual([]);
});

/** What a service is not given, and why. */
const NOT_GIVEN: Readonly<Record<string, readonly string[]>> = {
  // Another name of DATABASE_URL; the pooler and the way past it belong to databases that are not compose's own.
  all: ["POSTGRES_CONNECTION_STRING", "DATABASE_DIRECT_URL", "DATABASE_POOLING"],
  // The launcher local is for development, outside of Docker. The sink's secret stands in the worker alone, and without it nothing of the sink is read.
  gateway: ["SANDBOX_ROOT_FOLDER", "SANDBOX_PATH", "SANDBOX_LOCAL_USER", ...Object.keys(SINK_ENVIRONMENT), "BILLING_MARKUP"],
  // Of those who mint keys.
  worker: ["LLM_PROXY_PUBLIC_URL", "LLM_PROXY_KEY_DURATION", "LLM_PROXY_REQUIRED", "SANDBOX_TIMEOUT_SECONDS"],
  // The file of the image.
  engine: ["LITELLM_CONFIG"],
};

test.each(Object.entries(readBy))("users 06: whatever the %s reads, it is given; what .env says has an effect", (service, tables) => {
  const left = [...(NOT_GIVEN["all"] ?? []), ...(NOT_GIVEN[service] ?? [])];
  const read = tables.flatMap(({ shape }) => Object.keys(shape)).filter((name) => !left.includes(name));

  expect(read.filter((name) => !(name in environmentOf(service)))).toEqual([]);
});

test.each(Object.entries(readBy))("the %s is given every variable that it requires, each in a form that it accepts", (service, tables) => {
  const given: Record<string, string | undefined> = { ...environmentOf(service) };
  for (const [name, value] of Object.entries(given)) {
    const filled = interpolations(value ?? "").reduce(
      (rendered, { name: variable, operator, rest }) =>
        rendered.replace(/\$\{[^}]*\}/, operator === ":-" ? rest : `sk-${variable}-0123456789`),
      value ?? "",
    );
    // As each process has it: empty is unset.
    given[name] = filled === "" ? undefined : filled;
  }
  const schemas = tables.flatMap(({ shape }) =>
    Object.entries(shape as Record<string, { safeParse(input: unknown): { success: boolean } }>),
  );

  expect(schemas.filter(([name, schema]) => !schema.safeParse(given[name]).success).map(([name]) => name)).toEqual([]);
  expect(given["DATABASE_URL"]).toBeDefined();
});

test("the gateway can mint: it is given the proxy, its public address, and the proxy's own master key", () => {
  expect(environmentOf("gateway")).toMatchObject({
    LLM_PROXY_URL: "${LLM_PROXY_URL:-http://llm-proxy:4000}",
    LLM_PROXY_REQUIRED: "true",
    LLM_PROXY_PUBLIC_URL: expect.any(String),
  });
  expect(environmentOf("gateway")["LLM_PROXY_MASTER_KEY"]).toBe(environmentOf("llm-proxy")["LITELLM_MASTER_KEY"]);
});

test("every secret is required and has no default, wherever it stands", () => {
  const secrets = ["POSTGRES_PASSWORD", "LITELLM_MASTER_KEY", "GATEWAY_API_TOKEN"];
  const used = interpolations(text.replaceAll(/^\s*#.*$/gm, ""));

  expect([...new Set(used.filter(({ name }) => secrets.includes(name)).map(({ name }) => name))].sort()).toEqual(secrets.toSorted());
  expect(used.filter(({ name, operator }) => secrets.includes(name) && operator !== ":?")).toEqual([]);
  expect(used.filter(({ name, operator, rest }) => /KEY$|TOKEN|PASSWORD|SECRET/.test(name) && operator !== ":?" && rest !== "")).toEqual(
    [],
  );
});

test("a provider key is given to the proxy and to nobody else", () => {
  const holders = Object.entries(services).filter(([, service]) =>
    Object.keys(service.environment ?? {}).some((name) => /^(ANTHROPIC|OPENAI)_/.test(name)),
  );

  expect(holders.map(([name]) => name)).toEqual(["llm-proxy", "engine"]);
});

test("the key of any provider reaches both proxies, by a file that need not be there, is theirs alone and is in no commit", async () => {
  const given = Object.entries(services).flatMap(([name, { env_file: files }]) => (files === undefined ? [] : [[name, files]]));
  const ignored = (await readFile(new URL("../.gitignore", import.meta.url), "utf8")).split("\n");

  expect(given).toEqual(["llm-proxy", "engine"].map((name) => [name, [{ path: "providers.env", required: false }]]));
  expect(ignored).toContain("providers.env");
  // What stands under `environment` wins over the file, also when it is empty: so only what is in .env may stand there.
  const example = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  const named = Object.keys(environmentOf("llm-proxy")).filter((name) => name.endsWith("_API_KEY"));
  expect(named.filter((name) => !new RegExp(`^${name}=`, "m").test(example))).toEqual([]);
});

test("every image is pinned by an exact version", () => {
  for (const { image, build } of Object.values(services)) {
    if (build !== undefined) continue;
    expect(image).toMatch(/:v?\d+\.\d+(\.\d+)?$/);
  }
});

test("the proxy's image is the one of apps/llm-proxy/Dockerfile", async () => {
  const dockerfile = await readFile(new URL("../apps/llm-proxy/Dockerfile", import.meta.url), "utf8");

  expect(/^FROM (\S+)/m.exec(dockerfile)?.[1]).toBe(services["llm-proxy"]?.image);
});

test("LiteLLM keeps its tables in the schema that the others read them from, and migrates it alone", () => {
  expect(environmentOf("llm-proxy")["DATABASE_URL"]).toBe(
    `${environmentOf("gateway")["DATABASE_URL"]}?schema=${environmentOf("gateway")["LITELLM_DB_SCHEMA"]}`,
  );
  expect(environmentOf("migrate")["MIGRATION_SETS"]).toBe("gateway");
});

test("nothing is published beyond this machine", () => {
  const published = Object.values(services).flatMap(({ ports = [] }) => ports);

  expect(published.length).toBeGreaterThan(0);
  expect(published.filter((port) => !port.startsWith("127.0.0.1:"))).toEqual([]);
});

test("every long-running service has a health check, and waits for what it needs to be healthy", () => {
  const unchecked = Object.entries(services).filter(([name, service]) => name !== "migrate" && service.healthcheck === undefined);
  const conditions = Object.values(services).flatMap(({ depends_on: needs = {} }) => Object.entries(needs));

  expect(unchecked.map(([name]) => name)).toEqual([]);
  for (const [needed, { condition }] of conditions)
    expect([needed, condition]).toEqual([needed, needed === "migrate" ? "service_completed_successfully" : "service_healthy"]);
});

test("every file that the compose file names exists", async () => {
  const mounted = Object.values(services).flatMap(({ volumes = [] }) =>
    volumes.filter((volume) => volume.startsWith("./")).map((volume) => volume.split(":")[0] ?? ""),
  );
  const run = Object.values(services).flatMap(({ command = [] }) => command.filter((part) => part.endsWith(".ts")));

  expect([...mounted, ...run].length).toBeGreaterThanOrEqual(4);
  for (const path of [...mounted, ...run]) expect((await stat(new URL(`../${path}`, import.meta.url))).isFile()).toBe(true);
});

test("users 06: a sink other than Autumn needs no key of Autumn's, and Autumn's lack of one is named by the worker", () => {
  const filled = { DATABASE_URL: "postgresql://app:x@postgres:5432/app" };

  expect(parseWorkerConfig({ ...filled, SETTLEMENT_SINK: "jsonl", SETTLEMENT_FILE: "/tmp/settlement.jsonl" }).sinks.autumn).toBeUndefined();
  expect(() => parseWorkerConfig(filled)).toThrow(/AUTUMN_API_KEY/);
});

test("users 06: our own engine is a profile beside stock LiteLLM, its management port is not published", () => {
  const { profiles, ports } = services["engine"] ?? {};

  expect(profiles).toEqual(["engine"]);
  expect(ports?.map((port) => port.split(":").at(-1))).toEqual(["4000"]);
  expect(services["llm-proxy"]?.profiles).toBeUndefined();
});

test("every variable that compose asks the user for is in .env.example, and its defaults are those of the code", async () => {
  const example = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  const asked = interpolations(text.replaceAll(/^\s*#.*$/gm, ""));
  // What may be left out altogether is in docs/env.md, to which the example points.
  const toBeSet = asked.filter(({ operator, rest }) => operator !== ":-" || rest !== "").map(({ name }) => name);
  expect(toBeSet.filter((name) => !new RegExp(`^#? ?${name}=`, "m").test(example))).toEqual([]);

  const withDefault = asked.filter(({ name, operator, rest }) => operator === ":-" && rest !== "" && defaultsOfVariable(name).length > 0);
  expect(withDefault.length).toBeGreaterThan(0);
  for (const { name, rest } of withDefault) expect({ name, defaults: defaultsOfVariable(name) }).toEqual({ name, defaults: [rest] });
});
