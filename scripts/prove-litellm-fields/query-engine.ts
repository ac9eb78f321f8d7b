import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { answerOf, type GraphqlNode, jsonFieldsOf, questionOf, type EngineQuestion } from "./query-language.ts";

/**
 * Stands in the place of Prisma's query engine under a real LiteLLM. That is a binary which no package registry has; the same engine as
 * WebAssembly, which npm has, speaks another protocol. This program listens as the binary does and translates. All SQL is the engine's own.
 *
 * Prisma's Python client starts it with `-p PORT`, and PRISMA_DML_PATH and DATABASE_URL in the environment; the installation adds
 * ENGINE_PACKAGES, the folder with the npm packages. With `--version` it says the version that the client expects.
 */

interface Engine {
  connect(trace: string, requestId: string): Promise<void>;
  query(body: string, trace: string, transactionId: string | undefined, requestId: string): Promise<string>;
  startTransaction(body: string, trace: string, requestId: string): Promise<string>;
  commitTransaction(id: string, trace: string, requestId: string): Promise<string>;
  rollbackTransaction(id: string, trace: string, requestId: string): Promise<string>;
}

interface WasmRuntime {
  instantiate(
    bytes: Uint8Array,
    imports: object,
  ): Promise<{ readonly instance: { readonly exports: Readonly<Record<string, () => void>> } }>;
}

type Answer = Readonly<Record<string, unknown>>;

// The engine takes a trace and an id with each call, and makes nothing of these.
const [TRACE, REQUEST_ID] = ["{}", "1"];
const variable = (name: string): string => process.env[name] ?? "";

if (process.argv.includes("--version")) {
  console.log(`query-engine ${variable("PRISMA_EXPECTED_ENGINE_VERSION")}`);
  process.exit(0);
}

const packages = createRequire(`${variable("ENGINE_PACKAGES")}/package.json`);
const { parse } = packages("graphql") as {
  parse(document: string): { readonly definitions: readonly [{ readonly selectionSet: { readonly selections: readonly [GraphqlNode] } }] };
};
const datamodel = readFileSync(variable("PRISMA_DML_PATH"), "utf8");
const jsonFields = jsonFieldsOf(datamodel);
const engine = await startEngine();

async function startEngine(): Promise<Engine> {
  const { PrismaPg } = packages("@prisma/adapter-pg");
  const { bindAdapter } = packages("@prisma/driver-adapter-utils");
  const bindings = packages("@prisma/client/runtime/query_engine_bg.postgresql.js");
  const wasm = readFileSync(packages.resolve("@prisma/client/runtime/query_engine_bg.postgresql.wasm"));
  const { WebAssembly: runtime } = globalThis as unknown as { readonly WebAssembly: WasmRuntime };
  const { instance } = await runtime.instantiate(wasm, { "./query_engine_bg.js": bindings });
  bindings["__wbg_set_wasm"](instance.exports);
  instance.exports["__wbindgen_start"]?.();
  const database = new URL(variable("DATABASE_URL"));
  const schema = database.searchParams.get("schema") ?? "public";
  database.search = "";
  const adapter = bindAdapter(await new PrismaPg({ connectionString: database.href, max: 10 }, { schema }).connect());
  const options = {
    datamodel,
    logLevel: "error",
    logQueries: false,
    datasourceOverrides: {},
    env: {},
    configDir: ".",
    enableTracing: false,
  };
  const started = new bindings.QueryEngine({ ...options, ignoreEnvVarErrors: true }, () => undefined, adapter) as Engine;
  await started.connect(TRACE, REQUEST_ID);
  return started;
}

const asked = (document: string): EngineQuestion => questionOf(parse(document).definitions[0].selectionSet.selections[0], jsonFields);
const ask = async (body: object, transactionId: string | undefined): Promise<Answer> =>
  JSON.parse(await engine.query(JSON.stringify(body), TRACE, transactionId, REQUEST_ID)) as Answer;

/** One document, or several as a batch. */
async function query(body: string, transactionId: string | undefined): Promise<Answer> {
  const request = JSON.parse(body) as { query: string; batch?: readonly { query: string }[]; transaction?: boolean };
  if (request.batch === undefined) {
    const question = asked(request.query);
    return answerOf(question, await ask(question.body, transactionId));
  }
  const questions = request.batch.map((one) => asked(one.query));
  const answer = await ask(
    { batch: questions.map((one) => one.body), ...(request.transaction === true && { transaction: {} }) },
    transactionId,
  );
  const results = answer["batchResult"] as readonly Answer[] | undefined;
  return results ? { batchResult: questions.map((question, index) => answerOf(question, results[index] ?? {})) } : answer;
}

async function answerTo({ url = "", headers }: IncomingMessage, body: string): Promise<Answer> {
  if (url === "/status") return { status: "ok" };
  if (url.startsWith("/metrics")) return { counters: [], gauges: [], histograms: [] };
  if (url === "/transaction/start") return JSON.parse(await engine.startTransaction(body, TRACE, REQUEST_ID)) as Answer;
  const [, id = "", end] = /^\/transaction\/([^/]+)\/(commit|rollback)$/.exec(url) ?? [];
  if (end === "commit") return JSON.parse(await engine.commitTransaction(id, TRACE, REQUEST_ID)) as Answer;
  if (end === "rollback") return JSON.parse(await engine.rollbackTransaction(id, TRACE, REQUEST_ID)) as Answer;
  return query(body, headers["x-transaction-id"]?.toString());
}

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  let answer: Answer;
  try {
    answer = await answerTo(request, Buffer.concat(chunks).toString());
  } catch (error) {
    console.error("query engine:", error);
    answer = { errors: [{ error: String(error), user_facing_error: { message: String(error), meta: {} } }] };
  }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}

const server = createServer((request, response) => void respond(request, response));
server.keepAliveTimeout = 120_000;
server.listen(Number(process.argv[process.argv.indexOf("-p") + 1]));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(0));
