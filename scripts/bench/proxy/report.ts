import { whole } from "../figures.ts";
import type { LoadResult } from "./load.ts";

export const CASES = [
  { name: "streamed, 1 connection", isStreamed: true, connections: 1, isOneOrg: false },
  { name: "whole, 1 connection", isStreamed: false, connections: 1, isOneOrg: false },
  { name: "streamed, 32 connections", isStreamed: true, connections: 32, isOneOrg: false },
  { name: "whole, 32 connections", isStreamed: false, connections: 32, isOneOrg: false },
  { name: "whole, 32 connections, all one key", isStreamed: false, connections: 32, isOneOrg: true },
] as const;

export interface CaseFigures {
  readonly name: string;
  readonly direct: LoadResult;
  readonly relay: LoadResult;
  readonly proxy: LoadResult;
  /** Computed for one request. */
  readonly proxyCpuMs: number;
  readonly databaseCpuMs: number;
}

export interface ProxyFigures {
  readonly machine: string;
  readonly date: string;
  readonly requests: number;
  readonly rounds: number;
  readonly orgs: number;
  readonly cases: readonly CaseFigures[];
  readonly proxyMemoryMb: number | undefined;
}

const milliseconds = (value: number): string => value.toFixed(value < 10 ? 2 : 0);
const latencies = ({ medianMs, p99Ms }: LoadResult): string => `${milliseconds(medianMs)} / ${milliseconds(p99Ms)}`;

export function describeFigures(figures: ProxyFigures): string {
  const rows = figures.cases.map(({ name, direct, relay, proxy, proxyCpuMs, databaseCpuMs }) =>
    [
      name,
      `${whole(direct.requestsPerSecond)} (${latencies(direct)})`,
      `${whole(relay.requestsPerSecond)} (${latencies(relay)})`,
      `${whole(proxy.requestsPerSecond)} (${latencies(proxy)})`,
      `${((proxy.requestsPerSecond / relay.requestsPerSecond) * 100).toFixed(0)} %`,
      `${milliseconds(proxy.firstByteMs - direct.firstByteMs)} ms`,
      `${proxyCpuMs.toFixed(2)} + ${databaseCpuMs.toFixed(2)} ms`,
    ].join(" | "),
  );
  return `${figures.date}; ${figures.machine}. ${whole(figures.requests)} requests a round (a fifth of that over 1 connection), median of ${figures.rounds} interleaved rounds, ${figures.orgs} orgs with budgets.
Requests/s, in brackets median / 99th percentile in ms to the last byte. Load generator, provider and PostgreSQL share the two cores.

| case | provider directly | a relay in Node | LLM proxy | of the relay | added to the first byte | CPU a request: proxy + PostgreSQL |
|---|---|---|---|---|---|---|
${rows.map((row) => `| ${row} |`).join("\n")}

Proxy memory at most: ${figures.proxyMemoryMb ?? "?"} MB. Every request is authenticated, reserved, metered and settled durably before its end is passed on.
`;
}
