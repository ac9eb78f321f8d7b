import { writeSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { askModel } from "./ask.ts";

/**
 * The smallest program that a launcher takes for OpenCode: `main.ts serve --port N --hostname H` answers `/global/health`
 * to the user `opencode` with OPENCODE_SERVER_PASSWORD, and 401 to all others. `--delay MS` before it listens, `--exit N`
 * ends it at once, `--say TEXT` writes that first, with variables (`$NAME`) filled in, `--open` asks for no password,
 * `--ask N` calls the model N times once it listens (`ask.ts`).
 */
const { values } = parseArgs({
  allowPositionals: true,
  options: {
    port: { type: "string" },
    hostname: { type: "string" },
    delay: { type: "string" },
    exit: { type: "string" },
    open: { type: "boolean" },
    ask: { type: "string" },
    say: { type: "string" },
  },
});
const expected = `Basic ${Buffer.from(`opencode:${process.env["OPENCODE_SERVER_PASSWORD"]}`).toString("base64")}`;

if (values.say !== undefined) writeSync(1, `${values.say.replaceAll(/\$(\w+)/g, (_, name: string) => process.env[name] ?? "")}\n`);
if (values.exit !== undefined) process.exit(Number(values.exit));
const server = createServer((request, response) => {
  const allowed = values.open === true || request.headers.authorization === expected;
  if (!allowed) response.statusCode = 401;
  else if (request.url !== "/global/health") response.statusCode = 404;
  response.setHeader("content-type", "application/json").end(JSON.stringify({ healthy: allowed }));
});
setTimeout(() => server.listen(Number(values.port), values.hostname), Number(values.delay ?? 0));
if (values.ask !== undefined) server.once("listening", () => void askModel(Number(values.ask), process.env));
