import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { defaultsOfVariable, ENVIRONMENT_TABLES } from "./environment-tables.ts";
import { generatedDocs } from "./generate-docs.ts";

const read = (path: string): Promise<string> => readFile(new URL(`../${path}`, import.meta.url), "utf8");
const namesOf = (...tables: readonly { readonly shape: object }[]): readonly string[] => tables.flatMap(({ shape }) => Object.keys(shape));

test.each(Object.entries(generatedDocs()))("%s is what the code says (node scripts/generate-docs.ts writes it)", async (path, text) => {
  expect(await read(path)).toBe(text);
});

test("every variable of every process is described", () => {
  for (const { title, shape } of Object.values(ENVIRONMENT_TABLES)) {
    for (const [name, schema] of Object.entries(shape))
      expect({ title, name, description: schema.description }).toMatchObject({ description: expect.stringMatching(/\w{3}/) });
  }
});

test(".env.example names only variables that something reads, and says the defaults that the code has", async () => {
  const entries = [...(await read(".env.example")).matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = "", value = ""]) => ({ name, value }));
  const known = new Set([...namesOf(...Object.values(ENVIRONMENT_TABLES)), "POSTGRES_PASSWORD", "POSTGRES_PORT", "ENGINE_PORT"]);

  expect(entries.filter(({ name }) => !known.has(name))).toEqual([]);
  const stated = entries.filter(
    ({ name, value }) => value !== "" && !["LLM_PROXY_PUBLIC_URL", "POSTGRES_PORT", "ENGINE_PORT"].includes(name),
  );
  expect(stated.length).toBeGreaterThan(0);
  for (const { name, value } of stated) expect({ name, defaults: defaultsOfVariable(name) }).toEqual({ name, defaults: [value] });
});

test("the models that are used by default are in config.yaml", async () => {
  const models = [...(await read("apps/llm-proxy/litellm/config.yaml")).matchAll(/model_name: (\S+)/g)].map(([, name]) => name);
  const used = ["GATEWAY_DEFAULT_MODEL", "GATEWAY_SMALL_MODEL", "DEV_MODEL"].flatMap(defaultsOfVariable);

  expect(used).toHaveLength(3);
  expect(models).toEqual(expect.arrayContaining(used));
});

test("the variables that config.yaml takes from the environment are in the tables", async () => {
  const named = new Set(
    [...(await read("apps/llm-proxy/litellm/config.yaml")).matchAll(/os\.environ\/([A-Z_]+)/g)].map(([, name]) => name),
  );

  expect(namesOf(ENVIRONMENT_TABLES.providers, ENVIRONMENT_TABLES.engine)).toEqual(expect.arrayContaining([...named]));
  expect([...named]).toEqual(expect.arrayContaining([...namesOf(ENVIRONMENT_TABLES.providers)]));
});
