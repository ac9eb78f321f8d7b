import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { loadavg, setPriority } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { manage, mintKey, type ProxyProcess, startProxyProcess } from "../../apps/llm-proxy/test/proxy-process.ts";
import { runBenchmark } from "../bench/command.ts";
import { describeMachine, median, whole } from "../bench/figures.ts";
import { cpuSeconds } from "../bench/process-stats.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { parse } from "yaml";
import type { Attack } from "./attack-process.ts";
import type { Inside } from "./inside.ts";
import { type Latency, measureOthers } from "./others.ts";
import { type Places, placeOthers, placeProxy } from "./places.ts";

const MOST_MEMORY_MB = 400;
/** Of a core: the proxy rests. */
const CALM = 0.1;
const LONGEST_CALM_SECONDS = 120;

const HELP = `Attacks an LLM proxy of its own, on loopback, and watches its memory and what other callers feel: uploads of 31 of 32 MB that stop,
huge answers that are read slowly, streams that nobody reads, and idle connections, all at once, with Node's flags and the settings of
docker-compose.yml. Stops by itself.

  ./scripts/prove-memory.sh                       four minutes: 200 uploads, 50 answers of 500 MB, 1,000 readers, 10,000 connections
  ./scripts/prove-memory.sh --uploads 20 --answers 5 --readers 100 --idle 1000 --requests 200 --rounds 1
  ./scripts/prove-memory.sh --json | --write      figures as one line of JSON; into docs/benchmarks.md

What is compared: four callers that send one small request after the other, 20 ms apart, to a provider of their own, --requests in all;
alone, under attack, alone, and so on, --rounds attacks on one proxy. Each attack's 99th percentile is divided by the mean of those alone
before and after it, and the median of the rounds counts; it should be below 2. That is judged by whoever reads it. So that it
tells of the proxy, alone and under attack alike:
- Where the system has \`taskset\` and two cores, the proxy with all its threads has core 0 to itself, and core 1 is for everybody else:
  attackers, providers, PostgreSQL and callers, because attackers do not run on the gateway's machine. What else runs on it is not kept away.
- Attackers and their provider have the lowest priority, and each sends at most --mbit (1,000: a network card) in all.
- "without the proxy" is what the same callers wait for their provider itself, while the attack stands: the part that is not the proxy's.
- "waited" is how long the proxy's main thread was ready to run and had no core, a second: for other processes or for its own collector.
- "loop late" is how late the proxy's event loop came to what was due: a request waits for that some ten times.
- The time under attack begins when every connection was opened and every reader's stream has begun. What the proxy reads on for those
  who left is over before the callers are measured alone again. Memory is watched all the time.

Exit status 1: the proxy held ${MOST_MEMORY_MB} MB or more, did not live, or refused others.
`;
const ATTACKING_KEYS = 20;
/** Least important: what is left of the machine is theirs, as if they were elsewhere. */
const LOWEST_PRIORITY = 19;

interface Options {
  readonly "uploads": number;
  readonly "answers": number;
  readonly "answer-mb": number;
  readonly "readers": number;
  readonly "idle": number;
  readonly "mbit": number;
  readonly "requests": number;
  readonly "rounds": number;
}

interface Figures {
  readonly machine: string;
  readonly places: Places;
  readonly options: Options;
  readonly memoryMb: { readonly before: number; readonly most: number };
  /** Alone, under attack, alone, and so on; the first and the last are alone. */
  readonly phases: readonly Phase[];
  /** Of the last attack: answers to the attackers, by kind and status. */
  readonly seen: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Of the last attack: attackers' connections that stood at its end, by kind. */
  readonly standing: Readonly<Record<string, number>>;
  /** Of the last attack: connections that stood when it was complete. */
  readonly connections: number;
}

/** What the others felt, and what the proxy did meanwhile. */
interface Phase {
  readonly isAttacked: boolean;
  readonly others: Latency;
  /** The same callers without the proxy: what is not its part. */
  readonly direct: Latency;
  readonly cpu: Cpu;
  readonly inside: Inside;
  /** Processes that wanted a core when it ended, ours and others'. */
  readonly load: number;
}

/** Seconds a second. */
interface Cpu {
  /** All threads. */
  readonly computed: number;
  /** The main thread was ready and had no core. */
  readonly waited: number;
}

function startChild(file: string, ...options: string[]): ChildProcess {
  return fork(fileURLToPath(new URL(file, import.meta.url)), options, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
}

/** A child that does the attackers' work. */
function startAttacker(file: string, ...options: string[]): ChildProcess {
  const child = startChild(file, ...options);
  if (child.pid !== undefined) setPriority(child.pid, LOWEST_PRIORITY);
  return child;
}

const bytesPerSecond = ({ mbit }: Options): number => (mbit * 1_000_000) / 8;

/** What a process computed and waited for a core since, a second, once the returned function is called. */
async function watchCpu(pid: number | undefined): Promise<() => Promise<Cpu>> {
  // The second number of proc_pid_schedstat(5): nanoseconds on the run queue.
  const waitedSeconds = async (): Promise<number> => Number((await readFile(`/proc/${pid}/schedstat`, "utf8")).split(" ")[1]) / 1e9;
  const at = performance.now();
  const [computed, waited] = [await cpuSeconds(pid), await waitedSeconds()];
  return async () => {
    const seconds = (performance.now() - at) / 1_000;
    return { computed: ((await cpuSeconds(pid)) - computed) / seconds, waited: ((await waitedSeconds()) - waited) / seconds };
  };
}

/** How docker-compose.yml starts the proxy: Node's flags, and what the C library reads. One place says both. */
async function deployedSettings(): Promise<{ readonly flags: readonly string[]; readonly environment: Readonly<Record<string, string>> }> {
  const file = await readFile(new URL("../../docker-compose.yml", import.meta.url), "utf8");
  const { services } = parse(file, { merge: true }) as {
    readonly services: { readonly engine: { readonly command: readonly string[]; readonly environment: Readonly<Record<string, string>> } };
  };
  const { command, environment } = services.engine;
  return {
    flags: command.filter((word) => word.startsWith("--")),
    environment: Object.fromEntries(Object.entries(environment).filter(([name]) => name.startsWith("MALLOC_"))),
  };
}

async function urlOf(provider: ChildProcess): Promise<string> {
  const [{ port }] = (await once(provider, "message")) as [{ readonly port: number }];
  return `http://127.0.0.1:${port}`;
}

/** What it saw of itself since this was asked for last. */
async function lookInside(proxy: ProxyProcess): Promise<Inside> {
  const answered = once(proxy.child, "message");
  proxy.child.send("inside");
  const [inside] = (await answered) as [Inside];
  return inside;
}

async function memoryMb(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1_024;
}

/** The most memory that was seen, every 100 ms until it is told to stop. */
function watchMemory(pid: number | undefined): { stop(): Promise<number> } {
  const over = new AbortController();
  const most = (async () => {
    let mb = 0;
    while (!over.signal.aborted) {
      mb = Math.max(mb, await memoryMb(pid));
      await sleep(100);
    }
    return mb;
  })();
  return {
    stop: async () => {
      over.abort();
      return most;
    },
  };
}

/** Of proc_net_tcp(5). */
const ESTABLISHED = "01";

async function openConnections(proxy: ProxyProcess): Promise<number> {
  const address = `0100007F:${Number(new URL(proxy.url).port).toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((line) => line.trim().split(/\s+/));
  return lines.filter(([, local, , state]) => local === address && state === ESTABLISHED).length;
}

/** A proxy that is attacked, and what it is attacked with. */
interface Stage {
  readonly options: Options;
  readonly proxy: ProxyProcess;
  /** The others' provider: what is measured is the proxy. */
  readonly quiet: string;
  readonly key: string;
  readonly attackingKeys: readonly string[];
}

async function measurePhase({ proxy, quiet, key, options }: Stage, isAttacked: boolean): Promise<Phase> {
  const cpu = await watchCpu(proxy.child.pid);
  await lookInside(proxy);
  const others = await measureOthers(proxy.url, key, options.requests);
  const [used, inside] = [await cpu(), await lookInside(proxy)];
  const direct = await measureOthers(quiet, key, options.requests);
  return { isAttacked, others, direct, cpu: used, inside, load: loadavg()[0] ?? 0 };
}

async function measureAttack(stage: Stage): Promise<Pick<Figures, "seen" | "standing" | "connections"> & { readonly phase: Phase }> {
  const { options, proxy } = stage;
  const attack: Attack = {
    port: Number(new URL(proxy.url).port),
    keys: stage.attackingKeys,
    uploads: options.uploads,
    answers: options.answers,
    answerMb: options["answer-mb"],
    readers: options.readers,
    idle: options.idle,
    bytesPerSecond: bytesPerSecond(options),
  };
  const attackers = startAttacker("attack-process.ts", JSON.stringify(attack));
  try {
    await once(attackers, "message");
    const connections = await openConnections(proxy);
    const phase = await measurePhase(stage, true);
    attackers.kill("SIGTERM");
    const [{ seen, standing }] = (await once(attackers, "message")) as [Pick<Figures, "seen" | "standing">];
    return { phase, connections, seen, standing };
  } finally {
    attackers.kill("SIGKILL");
  }
}

/** What the proxy reads on for those who left is part of the attack; what follows begins when it is over. */
async function untilCalm(proxy: ProxyProcess): Promise<void> {
  const until = performance.now() + LONGEST_CALM_SECONDS * 1_000;
  for (;;) {
    const cpu = await watchCpu(proxy.child.pid);
    await sleep(1_000);
    if ((await cpu()).computed < CALM) return;
    if (performance.now() > until) throw new Error(`the proxy did not rest within ${LONGEST_CALM_SECONDS} s after the attack`);
  }
}

async function measureRounds(stage: Stage, say: (line: string) => void): Promise<Omit<Figures, "machine" | "places" | "options">> {
  const { options, proxy } = stage;
  await measureOthers(proxy.url, stage.key, options.requests);
  const before = await memoryMb(proxy.child.pid);
  const watch = watchMemory(proxy.child.pid);
  const tell = (phase: Phase): Phase => (say(rowOf(phase)), phase);
  const phases = [tell(await measurePhase(stage, false))];
  let last;
  for (let round = 0; round < options.rounds; round += 1) {
    const { phase, ...facts } = await measureAttack(stage);
    last = facts;
    phases.push(tell(phase));
    await untilCalm(proxy);
    phases.push(tell(await measurePhase(stage, false)));
  }
  const most = await watch.stop();
  if (!last || proxy.child.exitCode !== null || (await manage(proxy, "/health/liveliness")).status !== 200)
    throw new Error("the proxy did not live");
  return { memoryMb: { before, most }, phases, ...last };
}

async function measure(options: Options, say: (line: string) => void): Promise<Figures> {
  const places = await placeOthers();

  const postgres = await startEmbeddedPostgres({ dataFolder: join(await makeTemporaryFolder("prove-memory"), "postgres") });
  const { connectionString } = postgres;
  await migrate({ connectionString });
  const providers = [startAttacker("provider-process.ts", String(bytesPerSecond(options))), startChild("provider-process.ts")];
  const [attacked = "", quiet = ""] = await Promise.all(providers.map(urlOf));
  const { flags, environment } = await deployedSettings();
  const proxy = await startProxyProcess({
    connectionString,
    providerUrl: attacked,
    flags: [...flags, "--import", new URL("inside.ts", import.meta.url).href],
    environment: { ...environment, OPENAI_API_BASE: quiet, DETACHED_READ_MS: undefined, DRAIN_MS: undefined },
  });
  try {
    await placeProxy(proxy.child.pid, places);
    const { key } = await mintKey(proxy, { max_budget: 1_000 });
    const minted = await Promise.all(Array.from({ length: ATTACKING_KEYS }, async () => mintKey(proxy, { max_budget: 1_000 })));
    const stage = { options, proxy, quiet, key, attackingKeys: minted.map((each) => each.key) };
    return { machine: describeMachine(), places, options, ...(await measureRounds(stage, say)) };
  } finally {
    await proxy.kill();
    for (const provider of providers) provider.kill("SIGKILL");
    await postgres.stop();
  }
}

/** Of each attack: its percentile, and the mean of those alone before and after it. */
function factors(phases: readonly Phase[]): readonly number[] {
  return phases.flatMap((phase, index) => {
    const [before, after] = [phases[index - 1], phases[index + 1]];
    return phase.isAttacked && before && after ? [(2 * phase.others.p99Ms) / (before.others.p99Ms + after.others.p99Ms)] : [];
  });
}

function rowOf({ isAttacked, others, direct, cpu, inside, load }: Phase): string {
  const { young, old, step } = inside.collections;
  const cells = [
    isAttacked ? "under attack" : "alone",
    whole(others.requests),
    String(others.failed),
    others.p50Ms.toFixed(1),
    `**${others.p99Ms.toFixed(1)}**`,
    direct.p99Ms.toFixed(1),
    cpu.computed.toFixed(2),
    cpu.waited.toFixed(2),
    inside.loopP50Ms.toFixed(1),
    inside.loopP99Ms.toFixed(1),
    ...[young, old, step].map(({ count, ms, mostMs }) => `${whole(count)}: ${whole(ms)} (${mostMs.toFixed(1)})`),
    load.toFixed(1),
  ];
  return `| ${cells.join(" | ")} |`;
}

const table = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${whole(count)}`)
    .join(", ");

function describeFigures({ machine, places, options, memoryMb: memory, phases, seen, standing, connections }: Figures): string {
  const ratios = factors(phases);
  return [
    `At once: ${options.uploads} uploads that stop at 31 of 32 MB (again and again), ${options.answers} answers of ${options["answer-mb"]} MB read at 8 MB/s, ${whole(options.readers)} streams`,
    `that nobody reads, ${whole(options.idle)} connections that do nothing. Attackers and their provider: ${whole(options.mbit)} Mbit/s each, lowest priority.`,
    `${machine}; ${places === "apart" ? "the proxy on a core of its own, everybody else on the other one, alone and under attack" : "all on the same cores"}.`,
    "",
    `Memory of the proxy: ${whole(memory.before)} MB before, **${whole(memory.most)} MB** at most (aim: below ${MOST_MEMORY_MB}).`,
    `${whole(connections)} connections stood when the attack was complete; at its end: ${table(standing)}.`,
    "",
    "| answers to the attackers |",
    "|---|",
    ...Object.entries(seen).map(([who, counts]) => `| ${who}: ${table(counts)} |`),
    "",
    "| other callers | requests | failed | p50 ms | p99 ms | p99 without the proxy | proxy computed, s a second | waited for a core | loop late, p50 ms | p99 ms | young collections: ms (longest) | old | steps of old | load |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ...phases.map(rowOf),
    "",
    `p99 under attack: **${median(ratios).toFixed(1)}x** (median of ${ratios.map((ratio) => ratio.toFixed(1)).join(", ")}).`,
  ].join("\n");
}

process.exitCode =
  (await runBenchmark({
    help: HELP,
    counts: {
      "uploads": 200,
      "answers": 50,
      "answer-mb": 500,
      "readers": 1_000,
      "idle": 10_000,
      "mbit": 1_000,
      "requests": 1_500,
      "rounds": 3,
    },
    measure: async (options, say) => {
      const figures = await measure(options, say);
      if (figures.memoryMb.most >= MOST_MEMORY_MB || figures.phases.some(({ others }) => others.failed > 0)) process.exitCode = 1;
      return figures;
    },
    describe: describeFigures,
    section: () => ({ name: "memory", title: "Memory under attack", command: "./scripts/prove-memory.sh --write" }),
  })) || process.exitCode;
