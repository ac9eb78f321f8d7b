import { mkdir, rm, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { allowanceOf } from "./agent-allowances.ts";
import type { Agent } from "./agents.ts";
import type { Enclosure } from "./enclosure.ts";
import type { Laboratory } from "./laboratory.ts";
import { type Outcome, REFUSED_WITH, steady, wrongsOf } from "./outcomes.ts";
import type { Situation } from "./situations.ts";

/** What the provider's stand-in says, which no client says of itself. */
const ANSWER = /no model was called\. You said|The tool answered:/;
const TOOL_ANSWER = /The tool answered:/;
/** Longer than any program needs for an answer, on a busy machine too. */
const LONGEST_MS = 180_000;
/** Where no answer comes: one that still tries then goes on for minutes. */
const LONGEST_WITHOUT_ANSWER_MS = 60_000;

interface AgentRun {
  readonly laboratory: Laboratory;
  readonly enclosure: Enclosure;
  readonly agent: Agent;
  readonly situation: Situation;
  /** The path of the agent's program. */
  readonly program: string;
  /** Where its home is put: outside of every repository, whose instructions it would read. */
  readonly homes: string;
  /** Where what it wrote is put. */
  readonly transcripts: string;
}

/** Runs a program once in a situation, in a home of its own. */
export async function runAgent({ laboratory, enclosure, agent, situation, program, homes, transcripts }: AgentRun): Promise<Outcome> {
  const experiment = await laboratory.begin(situation, agent.model, agent.requestsAtOnce);
  const home = join(homes, experiment.mark);
  await mkdir(home, { recursive: true });
  for (const [path, text] of Object.entries(agent.files(experiment))) {
    await mkdir(dirname(join(home, path)), { recursive: true });
    await writeFile(join(home, path), text);
  }
  const wish = situation.needsTool && agent.tool ? `Use the ${agent.tool} tool to run \`pwd\`, for` : "Say hello to";
  const timeoutMs = situation.provider !== undefined && !situation.canRecover ? LONGEST_WITHOUT_ANSWER_MS : LONGEST_MS;
  const run = (argv: readonly string[]) =>
    enclosure.run({ program, argv, folder: home, environment: environmentOf(home, agent.environment(experiment)), timeoutMs });
  if (agent.setUp) await run(agent.setUp(experiment));
  const { text, status, isOutOfTime } = await run(agent.argv(experiment, `${wish} ${experiment.mark}.`));
  const observation = await laboratory.end(experiment);
  await writeFile(
    join(transcripts, `${agent.family}, ${agent.name}, ${situation.name}.txt`),
    `${text}\n--- status ${status}, asked ${observation.recorded.answers}\n${observation.recorded.asked.join("\n")}\n`,
  );
  // What cannot be removed yet goes with the folder of all.
  await rm(home, { recursive: true, force: true }).catch(() => undefined);
  const isAnswered = (situation.needsTool ? TOOL_ANSWER : ANSWER).test(text);
  const allowance = allowanceOf(agent, situation);
  const goesOn = isOutOfTime && !isAnswered;
  return {
    situation,
    family: agent.family,
    client: agent.name,
    asked: observation.recorded.answers,
    isAnswered,
    goesOn,
    // Who tries again does so as long as he likes, and titles and the like are asked for by the way.
    isSteady: (situation.key !== undefined || situation.model !== undefined) && (agent.requestsAtOnce ?? 1) === 1,
    told: isAnswered ? "its answer" : steady(goesOn ? `(tries on for more than ${timeoutMs / 1_000} s)` : reasonOf(text), experiment.model),
    wrong: [
      ...wrongsOf(experiment, observation, { text, isAnswered }, allowance),
      ...(isOutOfTime && allowance.goesOn !== true ? [`had not ended after ${timeoutMs / 1_000} s`] : []),
    ],
  };
}

/** What says why there is no answer: our own words, those of the provider, or of a broken stream. */
const REASONS = [...Object.values(REFUSED_WITH), "Scripted failure", "Service unavailable", "cannot be said"];
/** What programs write beside: stacks, warnings of their makers, what a terminal draws. */
const NOISE = /^\s+at |[Dd]eprecat|^[\s\u2500-\u259F]*$/;

/** The line of what a program wrote that says why there is no answer, or its last one. */
export function reasonOf(text: string): string {
  const lines = stripVTControlCharacters(text)
    .split("\n")
    .filter((line) => !NOISE.test(line));
  return lines.findLast((line) => REASONS.some((reason) => line.includes(reason))) ?? lines.at(-1) ?? "";
}

/** Nothing of this machine's own settings. */
function environmentOf(home: string, own: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const path = [dirname(process.execPath), "/usr/local/bin", "/usr/bin", "/bin"].join(delimiter);
  return { PATH: path, HOME: home, TERM: "dumb", NO_COLOR: "1", LANG: "C.UTF-8", COLUMNS: "1000", ...own };
}
