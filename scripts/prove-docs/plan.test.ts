import { expect, test } from "vitest";
import { commandsOf, documentCommands } from "./document-commands.ts";
import { LEFT_OUT } from "./left-out.ts";
import { fillIn, planFor } from "./plan.ts";

const ROOT = new URL("../../", import.meta.url);
const commands = documentCommands(ROOT);
const planned = (text: string) => planFor({ page: "README.md", line: 1, text });

test("every command of the documentation is run by prove-docs.sh, or stands in left-out.ts with its reason", () => {
  const unknown = commands
    .filter((command) => planFor(command).kind === "unknown")
    .map(({ page, line, text }) => `${page}:${line}: ${text}`);

  expect(commands.filter((command) => planFor(command).kind === "run").length).toBeGreaterThan(20);
  expect(unknown).toEqual([]);
});

test("a command that nobody planned, and a word that nobody fills in, are unknown", () => {
  for (const text of [
    "./scripts/new-thing.sh",
    "node scripts/other.ts",
    "./scripts/billing decide BATCH --delivered",
    "./scripts/billing explain <batch>",
    "rm -rf build",
  ])
    expect({ text, ...planned(text) }).toMatchObject({ text, kind: "unknown" });
});

test("commands are the lines of shell blocks, without comments, joined where they go on, and the spans that begin as one", () => {
  const page = [
    "Run `./scripts/billing status`, not `status`.",
    "",
    "```sh",
    "./scripts/billing explain REQUEST_ID     # one request",
    "# a remark",
    "curl -s http://localhost:8787/v1/x \\",
    "  -d '{}'",
    "```",
    "",
    "```typescript",
    "`./scripts/none`",
    "```",
  ].join("\n");

  expect(commandsOf("p.md", page)).toEqual([
    { page: "p.md", line: 1, text: "./scripts/billing status" },
    { page: "p.md", line: 4, text: "./scripts/billing explain REQUEST_ID" },
    { page: "p.md", line: 6, text: "curl -s http://localhost:8787/v1/x -d '{}'" },
  ]);
});

test("what a page leaves to its reader is filled in, and an HTTP error counts", () => {
  const filled = fillIn("curl -s http://localhost:8787/v1/x/REQUEST_ID", {
    requestId: "msg_1",
    pack: "p",
    stackPort: "1",
    gatewayUrl: "http://127.0.0.1:9",
    dataPlaneUrl: "",
  });

  expect(filled).toBe("curl --fail-with-body -s http://127.0.0.1:9/v1/x/msg_1");
});

test("each reason says something, and no two patterns are alike", () => {
  for (const { reason } of LEFT_OUT) expect(reason).toMatch(/\w{3}.*\w{3}/);
  expect(new Set(LEFT_OUT.map(({ command }) => command.source)).size).toBe(LEFT_OUT.length);
});
