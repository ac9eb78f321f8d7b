import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { runAgent } from "./agent-runs.ts";
import { type Agent, AGENTS } from "./agents.ts";
import { findEnclosure } from "./enclosure.ts";
import { Laboratory } from "./laboratory.ts";
import { runLibraries } from "./libraries.ts";
import { inLanes } from "./lanes.ts";
import type { Outcome } from "./outcomes.ts";
import { figuresTable, readSection, refusalTable, type Section, writeSection } from "./page.ts";
import { InstallationError, installProgram, PYTHON_LIBRARIES_PROGRAM } from "./programs.ts";
import { startPythonLibraries } from "./python-libraries.ts";
import { type Situation, SITUATIONS, TOOL_SITUATION } from "./situations.ts";

const slugOf = ({ family }: Agent): string => family.toLowerCase().replaceAll(" ", "-");
const AGENT_NAMES = [...new Set(AGENTS.map(slugOf))];
const NAMES = ["libraries", "python", ...AGENT_NAMES];
const TOOLS = ".dev/tools";
const TRANSCRIPTS = ".dev/clients";

const HELP = `Real clients, unmodified, against our engine and a provider that fails as it is told.

Each client meets the same situations: it is answered, its provider is silent, its key is expired or revoked, its budget
spent, its provider fails, its stream dies. Printed are how often it asked and what its user is told; the spend rows are
compared with what the provider served. The first run fetches the programs at exact versions from npm and PyPI into
${TOOLS} (about 2.5 GB; PyPI needs Python 3.10 or newer, with venv); after that nothing leaves this machine: each
program runs in a network namespace with loopback only. What each wrote stands in ${TRANSCRIPTS}.

  ./scripts/prove-clients.sh          everything, about half an hour on two cores
  --only NAME                         one of: ${NAMES.slice(0, 6).join(", ")},
                                      ${NAMES.slice(6).join(", ")}
  --situation TEXT                    of the programs, only those situations that have this text in their name
  --lanes N                           programs at once, default 3
  --write                             writes docs/clients.md; without it what differs from that page is red, too
  --json                              all outcomes as one object on standard output

Exit status: 0 every client stops or recovers as it must; 1 one does not; 2 wrong options; 3 one cannot be fetched.
`;

interface Options {
  readonly only: string | undefined;
  readonly situation: string;
  readonly lanes: number;
  readonly isWritten: boolean;
  readonly isJson: boolean;
}

/** Runs something against a proxy with a PostgreSQL of its own. */
async function inLaboratory<Result>(act: (laboratory: Laboratory) => Promise<Result>): Promise<Result> {
  const folder = await makeTemporaryFolder("clients");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  try {
    await migrate({ connectionString: postgres.connectionString });
    const laboratory = await Laboratory.start(postgres.connectionString);
    try {
      return await act(laboratory);
    } finally {
      await laboratory.stop();
    }
  } finally {
    await postgres.stop();
  }
}

const announce = (line: string): void => console.error(line);
const toolsFolder = join(process.cwd(), TOOLS);

async function runPython(laboratory: Laboratory): Promise<readonly Outcome[]> {
  const { clients, stop } = startPythonLibraries(await installProgram(PYTHON_LIBRARIES_PROGRAM, toolsFolder, announce));
  try {
    return await runLibraries(laboratory, clients);
  } finally {
    stop();
  }
}

function situationsOf({ tool, refusedWith, isAnsweredOnly = false }: Agent): readonly Situation[] {
  if (refusedWith !== undefined) return SITUATIONS.slice(0, 1);
  if (isAnsweredOnly) return [TOOL_SITUATION, ...SITUATIONS.slice(0, 2)];
  return [...(tool === undefined ? [] : [TOOL_SITUATION]), ...SITUATIONS];
}

async function runAgents(
  laboratory: Laboratory,
  agents: readonly Agent[],
  { lanes, situation: part }: Pick<Options, "lanes" | "situation">,
): Promise<readonly Outcome[]> {
  const transcripts = join(process.cwd(), TRANSCRIPTS);
  await mkdir(transcripts, { recursive: true });
  const homes = await makeTemporaryFolder("agents");
  const programs = new Map<string, string>();
  for (const { program } of agents) programs.set(program, await installProgram(program, toolsFolder, announce));
  const { socketPath, port } = laboratory.wayIn;
  const enclosure = await findEnclosure(socketPath, port);
  announce(enclosure.description);
  const cases = agents.flatMap((agent) =>
    situationsOf(agent).flatMap((situation) => (situation.name.includes(part) ? [{ agent, situation }] : [])),
  );
  let done = 0;
  return inLanes(cases, lanes, async ({ agent, situation }) => {
    const outcome = await runAgent({
      laboratory,
      enclosure,
      agent,
      situation,
      program: programs.get(agent.program) ?? "",
      homes,
      transcripts,
    });
    done += 1;
    const verdict = outcome.wrong.length === 0 ? "ok" : `RED: ${outcome.wrong.join("; ")}`;
    announce(`${done} of ${cases.length}: ${agent.family}, ${agent.name}: ${situation.name}: ${outcome.asked} requests, ${verdict}`);
    return outcome;
  });
}

/** Prints a part, writes it or compares it with the page; returns whether it is as it must be. */
async function report(
  section: Section,
  outcomes: readonly Outcome[],
  { isWritten, isJson, only, situation: part }: Options,
): Promise<boolean> {
  const red = outcomes.filter(({ wrong }) => wrong.length > 0);
  const text = refusalTable(outcomes);
  if (!isJson) console.log(`\n${text}`);
  for (const { family, client, situation, wrong } of red) announce(`RED ${family}, ${client}: ${situation.name}: ${wrong.join("; ")}`);
  // Of a part of the programs the page has no table.
  const isWhole = section !== "agents" || (only === undefined && part === "");
  if (isWritten && isWhole && red.length === 0) {
    await writeSection(section, text);
    if (section === "agents") await writeSection("figures", figuresTable(outcomes));
  }
  const differs = isWhole && (await readSection(section)) !== text;
  if (differs) announce(`RED docs/clients.md says something else of the ${section}; --write writes it where nothing else is red`);
  return red.length === 0 && !differs;
}

async function run(options: Options): Promise<number> {
  const { only, isJson } = options;
  const agents = AGENTS.filter((agent) => only === undefined || slugOf(agent) === only);
  const isAsked = (name: string): boolean => only === undefined || only === name;
  const parts = await inLaboratory(async (laboratory) => ({
    ...(isAsked("libraries") && { libraries: await runLibraries(laboratory) }),
    ...(isAsked("python") && { python: await runPython(laboratory) }),
    ...(agents.length > 0 && { agents: await runAgents(laboratory, agents, options) }),
  }));
  if (isJson) console.log(JSON.stringify(parts));
  let isGreen = true;
  for (const [section, outcomes] of Object.entries(parts)) isGreen = (await report(section as Section, outcomes, options)) && isGreen;
  return isGreen ? 0 : 1;
}

process.exitCode = await runScript({
  help: HELP,
  options: {
    only: { type: "string" },
    situation: { type: "string", default: "" },
    lanes: { type: "string", default: "3" },
    write: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
  check: ({ only, situation, lanes, write, json }): Options => {
    if (only !== undefined && !NAMES.includes(only)) throw new TypeError(`--only must be one of ${NAMES.join(", ")}, not "${only}"`);
    return { only, situation, lanes: wholeNumber("lanes", lanes, { to: 64 }), isWritten: write, isJson: json };
  },
  run: (options) =>
    run(options).catch((error: unknown) => {
      if (!(error instanceof InstallationError)) throw error;
      announce(error.message);
      return 3;
    }),
});
