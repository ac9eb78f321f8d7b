import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { routeOfPath } from "../src/data-plane/paths.ts";
import { managementRoutes } from "../src/management/server.ts";
import { matchesPath } from "../src/management/route.ts";
import { UNSERVED_ROUTES } from "../src/management/unserved-routes.ts";
import { MASTER_KEY, mintKey } from "./proxy-process.ts";
import { MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/** What apps/llm-proxy/README.md says is answered, and what is not, against the proxy and its routes. */

const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
const management = readme.slice(readme.indexOf("## Management"), readme.indexOf("What differs from LiteLLM"));
const [answered = "", missing = ""] = management.split("| LiteLLM has it, here it is a 501");

/** `POST /a`, `/b` in the first cell of a row: both with POST, until another method is named. */
function callsOf(table: string): readonly string[] {
  return table
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .flatMap((line) => spansOf(line.split(" | ")[0] ?? ""));
}

function spansOf(cell: string): readonly string[] {
  let method = "GET";
  return [...cell.matchAll(/`(?:(GET|POST) )?(\/[^`]+)`/g)].map(([, named, path]) => `${(method = named ?? method)} ${path}`);
}

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

/** Every management route of LiteLLM 1.104, of its own OpenAPI document; those that answer callers of models are the data plane's. */
const ofLitellm = (await readFile(new URL("litellm-management-routes.txt", import.meta.url), "utf8")).trim().split("\n");

const call = async (url: string, key: string): Promise<{ readonly status: number; readonly text: string }> => {
  const [, method, address = ""] = /^([A-Z]+) (.*)$/.exec(url) ?? [];
  const answer = await fetch(address, {
    method: method ?? "GET",
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json" },
    ...(method === "POST" && { body: "{}" }),
  });
  return { status: answer.status, text: await answer.text() };
};
const at = (base: string, entry: string): string => entry.replace(" ", ` ${base}`);

test("users 07: the calls that the page says are answered are the routes that there are", () => {
  const routes = managementRoutes({} as never).map(({ method, path }) => `${method} ${path}`);

  expect(
    callsOf(answered)
      .filter((entry) => !entry.includes("/health/"))
      .toSorted(),
  ).toEqual(routes.toSorted());
});

test("every route is known to the data port, which hands it on where management is shared", () => {
  const kinds = managementRoutes({} as never).map(({ path }) => routeOfPath(path).kind);

  // Of models the data plane answers with those of the caller.
  expect(new Set(kinds)).toEqual(new Set(["management", "models", "model"]));
});

test.each(callsOf(answered))("users 07: %s is answered", async (entry) => {
  const { key } = await mintKey(stack.proxy, {});
  const named = entry.replace("{model_id}", MESSAGE.model).replace("{key}", key);
  const { status } = await call(at(stack.proxy.adminUrl, named), MASTER_KEY);

  // An empty body or query may be refused by name; it is no missing route.
  expect([200, 400, 422]).toContain(status);
});

test("issue 12: the calls that the page says are not served are those that are refused by name", () => {
  const routes = UNSERVED_ROUTES.map(({ routes: of, instead }) => `| ${of.map((route) => `\`${route}\``).join(", ")} | ${instead} |`);

  expect(missing.split("\n").filter((line) => line.startsWith("| `"))).toEqual(routes);
});

test("issue 12: every management route of LiteLLM is answered here, or refused with 501 and its name", async () => {
  const routes = managementRoutes({} as never).map(({ method, path }) => `${method} ${path}`);
  const unserved = ofLitellm.filter(
    (entry) => !routes.includes(entry) && !entry.includes(" /health/live") && entry !== "GET /health/readiness",
  );

  const answers = await Promise.all(
    unserved.map(async (entry) => ({ entry, ...(await call(at(stack.proxy.adminUrl, entry.replaceAll(/\{\w+\}/g, "x")), MASTER_KEY)) })),
  );

  expect(ofLitellm.length).toBeGreaterThan(300);
  expect(answers.filter(({ status }) => status !== 501).map(({ entry, status }) => `${entry}: ${status}`)).toEqual([]);
  for (const { entry, text } of answers)
    expect(JSON.parse(text)).toMatchObject({
      error: { message: expect.stringContaining(entry.replaceAll(/\{\w+\}/g, "x")), param: "None", code: "501" },
    });
});

test("issue 12: no route is refused by name that LiteLLM does not have", () => {
  const useless = UNSERVED_ROUTES.flatMap(({ routes }) => routes).filter((route) => {
    const [method, pattern] = route.startsWith("/") ? [undefined, route] : (route.split(" ") as [string, string]);
    return !ofLitellm.some((entry) => {
      const [its = "", path = ""] = entry.split(" ");
      return (method === undefined || its === method) && matchesPath(pattern, path) !== undefined;
    });
  });

  expect(useless).toEqual([]);
});

test("issue 12: a route that nobody has is a 404 still, and a wrong method a 405", async () => {
  expect(await call(`POST ${stack.proxy.adminUrl}/key/rename`, MASTER_KEY)).toMatchObject({
    status: 404,
    text: expect.stringContaining("The management API has no route /key/rename"),
  });
  expect(await call(`GET ${stack.proxy.adminUrl}/key/generate`, MASTER_KEY)).toMatchObject({ status: 405 });
  expect(await call(`POST ${stack.proxy.adminUrl}/user/new`, "sk-not-the-master-key")).toMatchObject({ status: 401 });
});

/** The same on the data plane, each by the method that the page says, or else POST. */
const notServed = [
  ...(/^Not served, and told so with 404[^]*?\n\n/m.exec(readme)?.[0] ?? "").matchAll(/`(?:(GET|POST) )?(\/v1\/[a-z/]+)`/g),
].map(([, method = "POST", path]) => `${method} ${path}`);

test.each(notServed)("users 07: %s is not served by the data plane", async (entry) => {
  expect(await call(at(stack.proxy.url, entry), stack.key)).toMatchObject({ status: 404 });
});

test("users 07: the page names what the data plane does not serve", () => {
  expect(notServed.length).toBeGreaterThan(1);
});

test("users 07: members of a team, which would not be kept, are refused by name", async () => {
  const answer = await fetch(`${stack.proxy.adminUrl}/team/new`, {
    method: "POST",
    headers: { "authorization": `Bearer ${MASTER_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ team_id: "t1", members_with_roles: [{ role: "admin", user_id: "u5" }] }),
  });

  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain("members_with_roles");
});
