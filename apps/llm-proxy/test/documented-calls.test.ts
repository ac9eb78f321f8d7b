import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { managementRoutes } from "../src/management/server.ts";
import { MASTER_KEY } from "./proxy-process.ts";
import { startTestStack, type TestStack } from "./test-stack.ts";

/** What apps/llm-proxy/README.md says is answered, and what is not, against the proxy and its routes. */

const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
const management = readme.slice(readme.indexOf("## Management"), readme.indexOf("What differs from LiteLLM"));
const [answered = "", missing = ""] = management.split("| LiteLLM has it, here it is a 404");

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

const call = async (url: string, key: string): Promise<{ readonly status: number; readonly text: string }> => {
  const [, method, address = ""] = /^(GET|POST) (.*)$/.exec(url) ?? [];
  const answer = await fetch(address, {
    method: method ?? "GET",
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json" },
    ...(method === "POST" && { body: "{}" }),
  });
  return { status: answer.status, text: await answer.text() };
};
const at = (base: string, entry: string): string => entry.replace(" ", ` ${base}`);

test("users 07: the calls that the page says are answered are the routes that there are", () => {
  const routes = managementRoutes(undefined as never).map(({ method, path }) => `${method} ${path}`);

  expect(
    callsOf(answered)
      .filter((entry) => !entry.includes("/health/"))
      .toSorted(),
  ).toEqual(routes.toSorted());
});

test.each(callsOf(answered))("users 07: %s is answered", async (entry) => {
  const { status } = await call(at(stack.proxy.adminUrl, entry), MASTER_KEY);

  // An empty body or query may be refused by name; it is no missing route.
  expect([200, 400, 422]).toContain(status);
});

test.each(callsOf(missing))("users 07: %s is a 404 that says so", async (entry) => {
  const { status, text } = await call(at(stack.proxy.adminUrl, entry), MASTER_KEY);

  expect(status).toBe(404);
  expect(text).toContain("The management API has no route");
});

test.each(spansOf(/^The data plane, likewise: .*$/m.exec(management)?.[0] ?? "").map((entry) => entry.replace("GET", "POST")))(
  "users 07: %s is no route of the data plane",
  async (entry) => {
    expect(await call(at(stack.proxy.url, entry), stack.key)).toMatchObject({
      status: 404,
      text: expect.stringContaining("There is no such route"),
    });
  },
);

test("users 07: members of a team, which would not be kept, are refused by name", async () => {
  const answer = await fetch(`${stack.proxy.adminUrl}/team/new`, {
    method: "POST",
    headers: { "authorization": `Bearer ${MASTER_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ team_id: "t1", members_with_roles: [{ role: "admin", user_id: "u5" }] }),
  });

  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain("members_with_roles");
});
