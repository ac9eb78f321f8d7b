import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { FileLockBusy, withFileLock } from "./file-lock.ts";
import { createJsonLinesSink } from "./json-lines.ts";

const WRITER = fileURLToPath(new URL("../../test/json-lines-writer.ts", import.meta.url));
const DELIVERY = { batchId: "batch", orgId: "org", idempotencyKey: "key", credits: "2", eventCount: 1 } as const;

let file: string;
beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), "json-lines-"));
  file = join(folder, "settled.jsonl");
  return () => rm(folder, { recursive: true });
});

function startWriter(...argv: readonly string[]): ChildProcess {
  const child = fork(WRITER, argv, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

const readLines = async (): Promise<readonly { readonly key: string; readonly credits: string }[]> =>
  (await readFile(file, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { key: string; credits: string });

test("code 21: three processes that settle the same batches at once into one file write each once, and none cuts off another's line", async () => {
  const writers = [1, 2, 3].map(() => startWriter("deliver", file, "60"));

  const answers = await Promise.all(writers.map((writer) => once(writer, "message")));

  const delivered = Array.from({ length: 60 }, () => "delivered");
  expect(answers).toEqual([1, 2, 3].map(() => [delivered, undefined]));
  expect((await readLines()).map(({ key }) => key)).toEqual(Array.from({ length: 60 }, (_, index) => `key-${index}`));
});

test("code 21: a writer that dies while it has the file is in nobody's way", async () => {
  const holder = startWriter("hold", file);
  expect(await once(holder, "message")).toEqual(["held", undefined]);
  const waiting = createJsonLinesSink(file).deliver(DELIVERY);

  holder.kill("SIGKILL");

  expect(await waiting).toMatchObject({ kind: "delivered" });
  expect(await readLines()).toMatchObject([{ key: "key", credits: "2" }]);
});

test("code 21: whoever does not get the file in time says so, has written nothing, and may try again", async () => {
  const holder = startWriter("hold", file);
  await once(holder, "message");

  await expect(withFileLock(file, { mostMs: 50 }, async () => "never")).rejects.toBeInstanceOf(FileLockBusy);
  expect(await createJsonLinesSink(file, { mostMs: 50 }).deliver(DELIVERY)).toMatchObject({
    kind: "unavailable",
    code: "file_locked",
    message: expect.stringContaining("SETTLEMENT_FILE"),
  });
  expect(await readFile(file, "utf8")).toBe("");
});

const deliver = (key: string, orgId = "org") => createJsonLinesSink(file).deliver({ ...DELIVERY, orgId, idempotencyKey: key });

test("nothing is kept open between two steps, and lines are found in an index that another process made, or in none", async () => {
  for (const key of ["one", "two"]) await deliver(key, `org_${key}`);
  const opened = await Promise.all((await readdir("/proc/self/fd")).map((name) => readlink(`/proc/self/fd/${name}`).catch(() => "")));
  const known = await deliver("two", "org_two");
  await rm(`${file}.index`);
  const anew = await deliver("one", "org_one");

  expect(opened.filter((path) => path.startsWith(file))).toEqual([]);
  expect([known.kind, anew.kind, (await readLines()).length]).toEqual(["delivered", "delivered", 2]);
  expect(await createJsonLinesSink(file).ledger?.listDeductions("org_two", new Date(0))).toEqual([{ batchId: "batch", credits: "2" }]);
});

test("the index of a file that was put away says nothing of the one that took its place", async () => {
  await deliver("one");
  await rename(file, `${file}.old`);

  expect(await deliver("one")).toMatchObject({ kind: "delivered" });
  expect((await readLines()).map(({ key }) => key)).toEqual(["one"]);
});
