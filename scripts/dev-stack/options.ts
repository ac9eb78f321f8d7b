import { parseArgs } from "node:util";

export interface StackOptions {
  /** Exit after one pass of the main job. */
  readonly once: boolean;
  /** The last line of stdout is one JSON object. */
  readonly json: boolean;
  /** The real OpenCode makes the request. */
  readonly opencode: boolean;
  readonly help: boolean;
}

export const USAGE = `Usage: ./scripts/dev-start.sh [--once] [--json] [--opencode]

Starts the whole product on this machine, makes one real pass of the main job (key minted, request, spend row,
billing event, settlement, credits deducted) and stays up until Ctrl-C.

  --once       exit after the pass; status 0 only if what Autumn deducted equals spend x markup exactly
  --json       make the last line of stdout one JSON object
  --opencode   let the real OpenCode (npm opencode-ai, fetched on demand) make the request
  --help       this text

Variables (each switches a part from its stand-in to the real thing; all of them: docs/env.md)
  DATABASE_URL (or POSTGRES_CONNECTION_STRING)      a PostgreSQL server instead of the embedded one
  REDIS_URL                                         the queue on Redis instead of PostgreSQL
  ANTHROPIC_API_KEY, OPENAI_API_KEY                 real providers (with ANTHROPIC_API_BASE, OPENAI_API_BASE)
  LLM_PROXY_URL + LLM_PROXY_MASTER_KEY              stock LiteLLM or a remote engine instead of ours
  AUTUMN_API_KEY, AUTUMN_API_URL                    the real Autumn instead of the emulator
  NGROK_AUTHTOKEN                                   a public URL for the data plane
  LLM_PROXY_PORT, LLM_PROXY_ADMIN_PORT, GATEWAY_PORT, WORKER_PORT
`;

/** Throws an Error that says which argument is wrong. */
export function parseStackOptions(argv: readonly string[]): StackOptions {
  const flag = { type: "boolean", default: false } as const;
  const { values } = parseArgs({ args: [...argv], options: { once: flag, json: flag, opencode: flag, help: { ...flag, short: "h" } }, strict: true });
  return { once: values.once, json: values.json, opencode: values.opencode, help: values.help };
}
