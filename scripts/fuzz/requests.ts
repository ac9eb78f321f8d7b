import { fuzzCommand } from "./command.ts";
import { playRequest } from "./play.ts";

process.exitCode = await fuzzCommand({
  script: "./scripts/fuzz-requests.sh",
  help: `Sends mutated requests of every dialect to an LLM proxy of its own, on loopback, with a PostgreSQL and a provider that is well.

Good requests are changed in structure (fields dropped, doubled, moved, of other types, huge, deep), in bytes (no UTF-8, cut, compressed) and
in their head (length, encoding, type, path, method, key). After each batch: the process lives, each request was answered (without a 5xx: the
provider is well), each call that reached the provider has one closed row, and nothing is in flight or reserved.

  ./scripts/fuzz-requests.sh                   100,000 requests
  ./scripts/fuzz-requests.sh --count 5000`,
  prepare: async (stack) => async (choices, mark) => playRequest(stack, choices, mark),
});
