import { createJsonLinesSink } from "../src/sinks/json-lines.ts";
import { withFileLock } from "../src/sinks/file-lock.ts";

/** For tests only, as a process of its own: `deliver FILE KEYS` delivers so many batches; `hold FILE` takes the file's lock and keeps it. */
const [what, path = "", keys = "0"] = process.argv.slice(2);
if (what === "hold") {
  await withFileLock(path, {}, async () => {
    process.send?.("held");
    return new Promise(() => setInterval(() => undefined, 60_000));
  });
}
const sink = createJsonLinesSink(path);
const kinds: string[] = [];
for (let key = 0; key < Number(keys); key += 1) {
  // Long enough that a line takes more than one page.
  const orgId = `org-${"x".repeat(20_000)}`;
  const { kind } = await sink.deliver({ batchId: `batch-${key}`, orgId, idempotencyKey: `key-${key}`, credits: "1.5", eventCount: 1 });
  kinds.push(kind);
}
process.send?.(kinds);
process.disconnect?.();
