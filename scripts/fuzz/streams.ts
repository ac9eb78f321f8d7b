import { fuzzCommand } from "./command.ts";
import { recordAnswers } from "./fuzz-stack.ts";
import { playStream } from "./play.ts";

process.exitCode = await fuzzCommand({
  script: "./scripts/fuzz-streams.sh",
  help: `Lets a provider answer good requests of every dialect with mutated streams and whole answers, through an LLM proxy of its own, on loopback.

Good answers are cut at any byte, have frames twice, missing, exchanged, giant or with comments between them, other ends of lines, numbers of usage
that cannot be, other JSON, other bytes, other content types, compressions, statuses, and come in any pieces. After each batch: the process
lives, each request ended (with a 5xx only where the provider's status is one, or where docs/errors.md says 502 or 504 of a provider's
fault), each call has one closed row whose amounts can be, and nothing is in flight or reserved.

  ./scripts/fuzz-streams.sh                    100,000 answers
  ./scripts/fuzz-streams.sh --count 5000`,
  prepare: async (stack) => {
    const recorded = await recordAnswers(stack);
    return async (choices, mark) => playStream(stack, recorded, choices, mark);
  },
});
