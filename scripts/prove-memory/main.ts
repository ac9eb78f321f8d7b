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
import { describeMachine, quantile, whole } from "../bench/figures.ts";
import { cpuSeconds } from "../bench/process-stats.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { parse } from "yaml";
import type { Attack } from "./attack-process.ts";
import type { LoopDelay } from "./loop-delay.ts";

const MOST_MEMORY_MB = 400;
/** What the proxy reads on for those who left is part of the attack. */
const AFTER_SECONDS = 5;

const HELP = `Attacks an LLM proxy of its own, on loopback, and watches its memory and what other callers feel: uploads of 31 of 32 MB that stop,
huge answers that are read slowly, streams that nobody reads, and idle connections, all at once, with Node's flags and the settings of
docker-compose.yml. Stops by itself.

  ./scripts/prove-memory.sh                       a minute and a half: 200 uploads, 50 answers of 500 MB, 1,000 readers, 10,000 connections
  ./scripts/prove-memory.sh --uploads 20 --answers 5 --readers 100 --idle 1000 --seconds 10
  ./scripts/prove-memory.sh --json | --write      figures as one line of JSON; into docs/benchmarks.md

What is compared: four callers that send one small request after the other, 20 ms apart, to a provider of their own; first alone, then
under attack, the same callers in the same run. Their 99th percentile under attack should be below twice the one alone. That is judged
by whoever reads it, because attackers, providers, PostgreSQL, callers and proxy share this machine; so that it tells of the proxy:
- Attackers and their provider have the lowest priority, and each sends at most --mbit (1,000: a network card) in all. Over loopback they
  would send some 20,000, and copying that alone takes the cores that the callers are measured on.
- "waited" is how long the proxy's main thread was ready to run and had no core, a second: where it is large under attack, the
  percentile tells of the machine.
- "loop late" is how late the proxy's event loop came to what was due, at the 99th percentile, measured inside of it: its part of a
  percentile is that, some ten times a request (and what it waited for a core is in it).
- The time under attack begins when every connection was opened and every reader's stream has begun; memory is watched from the first of
  them until ${AFTER_SECONDS} s after all have left at once.

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
  readonly "seconds": number;
}

interface Figures {
  readonly machine: string;
  readonly options: Options;
  readonly memoryMb: { readonly before: number; readonly most: number };
  readonly others: { readonly before: Latency; readonly during: Latency };
  readonly cpu: { readonly before: Cpu; readonly during: Cpu };
  readonly loop: { readonly before: LoopDelay; readonly during: LoopDelay };
  /** Answers to the attackers, by kind and status. */
  readonly seen: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Attackers' connections that stood at the end, by kind. */
  readonly standing: Readonly<Record<string, number>>;
  readonly connections: number;
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

interface Latency {
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
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

/** How late its event loop was since this was asked for last. */
async function loopDelay(proxy: ProxyProcess): Promise<LoopDelay> {
  const answered = once(proxy.child, "message");
  proxy.child.send("loop delay");
  const [delay] = (await answered) as [LoopDelay];
  return delay;
}

async function memoryMb(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1_024;
}

/** Four callers that behave, each with one request at a time, for so long. */
async function measureOthers(proxy: ProxyProcess, key: string, seconds: number): Promise<Latency> {
  const until = performance.now() + seconds * 1_000;
  const times: number[] = [];
  let failed = 0;
  const body = JSON.stringify({
    model: "gpt-4o-mini",
    max_tokens: 20,
    messages: [{ role: "user", content: "Say something. ".repeat(130) }],
  });
  const call = async (): Promise<void> => {
    while (performance.now() < until) {
      const startedAt = performance.now();
      const response = await fetch(`${proxy.url}/v1/chat/completions`, {
        method: "POST",
        headers: { "x-api-key": key, "content-type": "application/json" },
        body,
      }).catch(() => undefined);
      await response?.text();
      if (response?.status === 200) times.push(performance.now() - startedAt);
      else failed += 1;
      await sleep(20);
    }
  };
  await Promise.all([1, 2, 3, 4].map(call));
  return { requests: times.length, failed, p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
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

async function measure(options: Options, say: (line: string) => void): Promise<Figures> {
  const postgres = await startEmbeddedPostgres({ dataFolder: join(await makeTemporaryFolder("prove-memory"), "postgres") });
  const { connectionString } = postgres;
  await migrate({ connectionString });
  // The others have a provider of their own: what is measured is the proxy.
  const providers = [startAttacker("provider-process.ts", String(bytesPerSecond(options))), startChild("provider-process.ts")];
  const [attacked = "", quiet = ""] = await Promise.all(providers.map(urlOf));
  const { flags, environment } = await deployedSettings();
  const proxy = await startProxyProcess({
    connectionString,
    providerUrl: attacked,
    flags: [...flags, "--import", new URL("loop-delay.ts", import.meta.url).href],
    environment: { ...environment, OPENAI_API_BASE: quiet, DETACHED_READ_MS: undefined, DRAIN_MS: undefined },
  });
  let attackers: ChildProcess | undefined;
  try {
    const { key } = await mintKey(proxy, { max_budget: 1_000 });
    const keys = await Promise.all(Array.from({ length: ATTACKING_KEYS }, async () => (await mintKey(proxy, { max_budget: 1_000 })).key));
    await measureOthers(proxy, key, Math.min(options.seconds, 5));
    const cpuBefore = await watchCpu(proxy.child.pid);
    await loopDelay(proxy);
    const before = await measureOthers(proxy, key, options.seconds);
    const [cpu, loopBefore] = [{ before: await cpuBefore() }, await loopDelay(proxy)];
    const memoryBefore = await memoryMb(proxy.child.pid);
    say(`alone: ${whole(memoryBefore)} MB, others p99 ${before.p99Ms.toFixed(1)} ms`);
    const watch = watchMemory(proxy.child.pid);
    const attack: Attack = {
      port: Number(new URL(proxy.url).port),
      keys,
      uploads: options.uploads,
      answers: options.answers,
      answerMb: options["answer-mb"],
      readers: options.readers,
      idle: options.idle,
      bytesPerSecond: bytesPerSecond(options),
    };
    attackers = startAttacker("attack-process.ts", JSON.stringify(attack));
    await once(attackers, "message");
    const connections = await openConnections(proxy);
    say(`attacked by ${whole(connections)} connections`);
    const cpuDuring = await watchCpu(proxy.child.pid);
    await loopDelay(proxy);
    const during = await measureOthers(proxy, key, options.seconds);
    const [underAttack, loopDuring, load] = [await cpuDuring(), await loopDelay(proxy), loadavg()[0] ?? 0];
    attackers.kill("SIGTERM");
    const [{ seen, standing }] = (await once(attackers, "message")) as [Pick<Figures, "seen" | "standing">];
    await sleep(AFTER_SECONDS * 1_000);
    const most = await watch.stop();
    if (proxy.child.exitCode !== null || (await manage(proxy, "/health/liveliness")).status !== 200)
      throw new Error("the proxy did not live");
    return {
      machine: describeMachine(),
      options,
      memoryMb: { before: memoryBefore, most },
      others: { before, during },
      cpu: { ...cpu, during: underAttack },
      loop: { before: loopBefore, during: loopDuring },
      ...{ seen, standing, connections, load },
    };
  } finally {
    attackers?.kill("SIGKILL");
    await proxy.kill();
    for (const provider of providers) provider.kill("SIGKILL");
    await postgres.stop();
  }
}

function rowOf(when: string, { requests, failed, p50Ms, p99Ms }: Latency, cpu: Cpu, loop: LoopDelay): string {
  const others = `${whole(requests)} | ${failed} | ${p50Ms.toFixed(1)} | ${p99Ms.toFixed(1)}`;
  return `| ${when} | ${others} | ${cpu.computed.toFixed(2)} | ${cpu.waited.toFixed(2)} | ${loop.p50Ms.toFixed(1)} | ${loop.p99Ms.toFixed(1)} |`;
}

const table = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${whole(count)}`)
    .join(", ");

function describeFigures({ machine, options, memoryMb: memory, others, cpu, loop, seen, standing, connections, load }: Figures): string {
  return [
    `At once: ${options.uploads} uploads that stop at 31 of 32 MB (again and again), ${options.answers} answers of ${options["answer-mb"]} MB read at 8 MB/s, ${whole(options.readers)} streams`,
    `that nobody reads, ${whole(options.idle)} connections that do nothing. Attackers and their provider: ${whole(options.mbit)} Mbit/s each, lowest priority.`,
    `${machine}; load ${load.toFixed(1)} at the end.`,
    "",
    `Memory of the proxy: ${whole(memory.before)} MB before, **${whole(memory.most)} MB** at most (aim: below ${MOST_MEMORY_MB}).`,
    `${whole(connections)} connections stood when the attack was complete; at its end: ${table(standing)}.`,
    "",
    "| answers to the attackers |",
    "|---|",
    ...Object.entries(seen).map(([who, counts]) => `| ${who}: ${table(counts)} |`),
    "",
    "| other callers | requests | failed | p50 ms | p99 ms | proxy computed, s a second | waited for a core, s a second | loop late, p50 ms | p99 ms |",
    "|---|---|---|---|---|---|---|---|---|",
    rowOf("alone", others.before, cpu.before, loop.before),
    rowOf("under attack", others.during, cpu.during, loop.during),
    "",
    `p99 under attack: **${(others.during.p99Ms / others.before.p99Ms).toFixed(1)}x**.`,
  ].join("\n");
}

process.exitCode =
  (await runBenchmark({
    help: HELP,
    counts: { "uploads": 200, "answers": 50, "answer-mb": 500, "readers": 1_000, "idle": 10_000, "mbit": 1_000, "seconds": 30 },
    measure: async (options, say) => {
      const figures = await measure(options, say);
      if (figures.memoryMb.most >= MOST_MEMORY_MB || figures.others.during.failed > 0) process.exitCode = 1;
      return figures;
    },
    describe: describeFigures,
    section: () => ({ name: "memory", title: "Memory under attack", command: "./scripts/prove-memory.sh --write" }),
  })) || process.exitCode;
