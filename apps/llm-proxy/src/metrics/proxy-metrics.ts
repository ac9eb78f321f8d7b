import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { Counter, Gauge, Histogram, Registry } from "@proliferate/runtime";
import type { AdmittedAttempt, AttemptOutcome } from "@proliferate/access/requests";
import { PRICED_CLASSES, totals } from "@proliferate/metering/usage";
import { ERROR_CODES } from "@proliferate/shared/errors";
import type { ModelTable } from "../config/model-table.ts";
import { FINDING_SOURCES, type FindingSource } from "../exhausted/remembered-findings.ts";
import { GRACE_REFUSALS, type GraceRefusal } from "../grace/grace.ts";
import type { GraceState } from "../grace/open-grace.ts";
import { findProvider } from "../providers/registry.ts";
import { type DataPlaneRoute, routeOfPath } from "../data-plane/paths.ts";

/**
 * What this process counts of its traffic. Every label has few values whatever callers send: routes and error codes of our
 * tables, models of the configuration, statuses that HTTP names. All else is `other`. Amounts are doubles here, for graphs;
 * nothing is computed from them.
 */
export class ProxyMetrics {
  readonly registry = new Registry();
  readonly #models: () => Pick<ModelTable, "find">;
  readonly #requests = this.#counter("requests_total", "Requests that were answered, by what was asked for and the status", [
    "route",
    "status",
  ]);
  readonly #refusals = this.#counter("refusals_total", "Errors of our own that callers were told, by code", ["code"]);
  readonly #seconds = this.#histogram("request_seconds", "From the first byte of a request's head to the last of its answer", ["route"]);
  readonly #inFlight = this.#gauge("requests_in_flight", "Requests that are being answered");
  readonly #firstToken = this.#histogram("first_byte_seconds", "From a request's start to the first byte of its answer", ["model"]);
  readonly #answers = this.#counter("answers_total", "Requests that may have reached a provider, by how they ended", ["model", "status"]);
  readonly #tokens = this.#counter("tokens_total", "Tokens that were settled, by class", ["model", "class"]);
  readonly #spend = this.#counter("spend_usd_total", "What was settled, in USD", ["model"]);
  readonly #providerErrors = this.#counter(
    "provider_errors_total",
    "Answers that failed at the provider, by its status or our code for it",
    ["provider", "code"],
  );
  readonly #flagged = this.#counter("flagged_answers_total", "Settled otherwise than by the provider's own final count at known prices", [
    "model",
    "flag",
  ]);
  readonly #settleFailures = this.#counter("settle_failures_total", "Tries to settle that the store did not take; each is repeated", []);

  readonly #graceAdmissions = this.#counter("grace_admissions_total", "Requests that were taken while the database was away", []);
  readonly #graceRefusals = this.#counter("grace_refusals_total", "Requests of that time that were not taken, by reason", ["reason"]);
  readonly #spoolReplays = this.#counter("spool_replayed_total", "Requests of that time that were put on record afterwards", []);

  readonly #memoryRefusals = this.#counter(
    "remembered_refusals_total",
    "Requests that were refused for a used-up limit without an admission, by who had asked the database",
    ["source"],
  );

  constructor(options: { readonly models: () => Pick<ModelTable, "find" | "retiring">; readonly held: HeldBytes }) {
    this.#models = options.models;
    const help = "Days until the provider of a configured model stops to serve it, from 30 days ahead; negative once it has";
    const retires = this.#gauge("model_retires_in_days", help, ["model"], () => {
      retires.reset();
      for (const { model, days } of daysLeft(options.models(), new Date())) retires.set({ model }, days);
    });
    const { held } = options;
    const bytes = this.#gauge("held_bytes", "Bytes of bodies and answers that are kept in memory", ["of"], () => {
      bytes.set({ of: "bodies" }, held.bodies());
      bytes.set({ of: "answers" }, held.answers());
    });
    // What a rule asks for is there from the start, so that its first event is an increase.
    this.#settleFailures.inc(0);
    for (const status of ["200", "500", "503"]) this.#requests.inc({ route: "answer", status }, 0);
    for (const flag of ["estimated", "unknown_usage", "over_reservation"]) this.#flagged.inc({ model: OTHER, flag }, 0);
    this.#providerErrors.inc({ provider: OTHER, code: OTHER }, 0);
    this.#answers.inc({ model: OTHER, status: "success" }, 0);
  }

  /** Counts every request of a listener, however it is handled. */
  observe(server: Server): void {
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      const startedAt = performance.now();
      const route = routeOfPath(request.url ?? "/").kind;
      this.#inFlight.inc();
      response.once("refused", (code: string) => this.#refusals.inc({ code: Object.hasOwn(ERROR_CODES, code) ? code : OTHER }));
      response.once("close", () => {
        this.#inFlight.dec();
        this.answered(route, response.headersSent ? response.statusCode : undefined, (performance.now() - startedAt) / 1_000);
      });
    });
  }

  /** A request is over; without a status where its caller got none. */
  answered(route: DataPlaneRoute["kind"], status: number | undefined, seconds: number): void {
    this.#requests.inc({ route, status: status === undefined ? "none" : statusLabel(status) });
    this.#seconds.observe({ route }, seconds);
  }

  /** An attempt is over; told once for each. */
  settled(attempt: AdmittedAttempt, outcome: AttemptOutcome): void {
    const model = this.#modelLabel(attempt.model_group);
    const usage = totals(outcome.report);
    this.#answers.inc({ model, status: outcome.status });
    for (const name of PRICED_CLASSES) add(this.#tokens, { model, class: name }, usage[name]);
    add(this.#spend, { model }, Number(outcome.cost.totalUsd));
    if (outcome.firstByteAt)
      this.#firstToken.observe({ model }, Math.max(0, outcome.firstByteAt.getTime() - attempt.started_at.getTime()) / 1_000);
    if (outcome.error && outcome.error.code !== CALLER_GONE)
      this.#providerErrors.inc({ provider: providerLabel(attempt.provider), code: errorLabel(outcome.error.code) });
    for (const flag of flagsOf(attempt, outcome)) this.#flagged.inc({ model, flag });
  }

  /** A request was taken while the store was away. */
  graceAdmitted(): void {
    this.#graceAdmissions.inc();
  }

  /** A request was not taken while the store was away. */
  graceRefused(reason: GraceRefusal): void {
    this.#graceRefusals.inc({ reason });
  }

  /** A request that was taken while the store was away is on record. */
  spoolReplayed(): void {
    this.#spoolReplays.inc();
  }

  /** Shows what serves known keys while the store is away. */
  watchGrace(state: GraceState): void {
    const show = (name: string, help: string, read: () => number): void => {
      const gauge: Gauge = this.#gauge(name, help, [], () => gauge.set(read()));
    };
    show("store_absent", "1 while the database is away", () => Number(state.isAbsent()));
    show("known_keys", "Keys that are served should the database go away", () => state.knownKeys());
    show("known_paths", "What these keys may call then: pairs of a key and a model", () => state.knownPaths());
    show("spool_requests", "Requests that were taken without the database and are not on record yet", () => state.spooledRequests());
    show("spool_bytes", "Bytes of the file in which they stand", () => state.spooledBytes());
    for (const reason of GRACE_REFUSALS) this.#graceRefusals.inc({ reason }, 0);
    this.#graceAdmissions.inc(0);
    this.#spoolReplays.inc(0);
  }

  /** A request was refused by what the store said a moment ago. */
  refusedFromMemory(source: FindingSource): void {
    this.#memoryRefusals.inc({ source });
  }

  /** Shows what remembers used-up limits. */
  watchLimitMemory(state: { isConnected(): boolean }): void {
    const help = "1 while Redis answers, by which proxies tell each other which limits are used up; no answer depends on it";
    const gauge: Gauge = this.#gauge("limits_redis_connected", help, [], () => gauge.set(Number(state.isConnected())));
    for (const source of FINDING_SOURCES) this.#memoryRefusals.inc({ source }, 0);
  }

  /** The store did not take a settlement. */
  settleFailed(): void {
    this.#settleFailures.inc();
  }

  #modelLabel(name: string): string {
    return this.#models().find(name)?.modelName ?? OTHER;
  }

  #counter<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name: `${PREFIX}${name}`, help, labelNames, registers: [this.registry] });
  }

  #gauge<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[] = [],
    collect: () => void = () => undefined,
  ): Gauge<Label> {
    return new Gauge({ name: `${PREFIX}${name}`, help, labelNames, registers: [this.registry], collect });
  }

  #histogram<Label extends string>(name: string, help: string, labelNames: readonly Label[]): Histogram<Label> {
    return new Histogram({ name: `${PREFIX}${name}`, help, labelNames, buckets: BUCKETS, registers: [this.registry] });
  }
}

/** Of each model that is about to go, in whole days of UTC. */
export function daysLeft(models: Pick<ModelTable, "retiring">, now: Date): readonly { readonly model: string; readonly days: number }[] {
  const today = Date.parse(now.toISOString().slice(0, 10));
  return models
    .retiring(now)
    .map(({ modelName, retiresOn = "" }) => ({ model: modelName, days: (Date.parse(retiresOn) - today) / DAY_MS }));
}

const DAY_MS = 86_400_000;

/** What is kept in memory for callers now. */
interface HeldBytes {
  bodies(): number;
  answers(): number;
}

const PREFIX = "llm_gateway_proxy_";
const OTHER = "other";
/** Of a caller that left; no fault of a provider. */
const CALLER_GONE = "499";
/** Seconds; agents' answers take minutes. */
const BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const STATUSES: ReadonlySet<number> = new Set([
  200, 201, 206, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429, 499, 500, 502, 503, 504, 529,
]);
const providerLabel = (provider: string): string => (findProvider(provider) ? provider : OTHER);

/** A provider may send any number; those that it may mean are kept, the rest goes by its class. */
function statusLabel(status: number): string {
  if (STATUSES.has(status)) return String(status);
  return status >= 100 && status < 600 ? `${Math.trunc(status / 100)}xx` : OTHER;
}

/** The provider's status, or one of our codes. */
function errorLabel(code: string): string {
  if (/^\d{3}$/.test(code)) return statusLabel(Number(code));
  return Object.hasOwn(ERROR_CODES, code) || code === "provider_error_event" ? code : OTHER;
}

function flagsOf(
  attempt: AdmittedAttempt,
  { estimated, report, unpriced, cost, recovered, flags: own = [] }: AttemptOutcome,
): readonly string[] {
  const flags = {
    ...Object.fromEntries(own.map((flag) => [flag, true])),
    estimated,
    recovered,
    // As the row's metadata: what the reader does not know, and what has no price.
    unknown_usage: report.unknown.length > 0 || (unpriced?.length ?? 0) > 0,
    unpriced: (unpriced?.length ?? 0) > 0,
    over_reservation: Number(cost.totalUsd) > Number(attempt.reserved_usd),
  };
  return Object.entries(flags)
    .filter(([, isSet]) => isSet)
    .map(([flag]) => flag);
}

function add<Label extends string>(counter: Counter<Label>, labels: Record<Label, string>, amount: number): void {
  // prom-client refuses what makes no sense on a counter, and no number of a provider may end a request.
  if (Number.isFinite(amount) && amount > 0) counter.inc(labels, amount);
}
