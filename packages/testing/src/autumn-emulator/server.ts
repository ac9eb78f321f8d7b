import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { applyAttach, type Card } from "./attach.ts";
import type { AutumnCall, AutumnEmulator, AutumnEmulatorOptions, PlanGrant } from "./autumn-emulator.ts";
import { remainingOf } from "./balances.ts";
import { keepAmount } from "./decimal.ts";
import { afterWork, beforeWork, type Sending } from "./fault-effects.ts";
import type { AutumnFault, TransportFault } from "./faults.ts";
import { listFeatures } from "./features.ts";
import { KeyStore } from "./key-store.ts";
import { Ledger, type TrackEvent } from "./ledger.ts";
import {
  applyTrack,
  check,
  createBalance,
  getCustomer,
  getOrCreateCustomer,
  listEvents,
  readTrack,
  type RouteContext,
  trackAnswer,
  type TrackCommand,
  updateBalance,
} from "./routes.ts";
import { StateFile } from "./state-file.ts";
import type { EmulatedSubscription } from "./subscriptions.ts";
import { sendAnswer } from "./transport.ts";
import { AutumnError, type Body, customerIdOf, LEGAL_CUSTOMER_ID, readBody, type WireAnswer } from "./wire.ts";

export type { AutumnCall, AutumnEmulator, AutumnEmulatorOptions };

const DEFAULT_FEATURE = "credits";

/** Starts an HTTP server that deducts as Autumn does, its weaknesses included; rejects if the port is taken. */
export async function startAutumnEmulator(options: AutumnEmulatorOptions = {}): Promise<AutumnEmulator> {
  const emulator = new Emulator(options);
  const server = createServer((request, response) => {
    void emulator.handle(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.keepAliveTimeout = 120_000;
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((done, fail) => server.once("error", fail).listen(options.port ?? 0, host, done));
  const { port } = server.address() as AddressInfo;
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= new Promise<void>((done) => {
      server.close(() => done());
      server.closeAllConnections();
    }).then(() => emulator.close());
    return stopping;
  };
  return Object.assign(emulator, { url: `http://${host}:${port}`, port, stop });
}

class Emulator {
  readonly calls: AutumnCall[] = [];
  readonly #options: AutumnEmulatorOptions;
  readonly #now: () => number;
  readonly #features: ReadonlySet<string>;
  readonly #file: StateFile;
  readonly #keys: KeyStore;
  readonly #ledger: Ledger;
  readonly #faults: AutumnFault[] = [];
  readonly #rules: { readonly matches: (call: AutumnCall) => boolean; readonly fault: AutumnFault }[] = [];
  readonly #cards = new Map<string, Card>();
  readonly #spoilers: { readonly matches: (call: AutumnCall) => boolean; readonly how: TransportFault }[] = [];
  #listRefusal: AutumnError | undefined;
  #queue: TrackCommand[] = [];
  #sequence = 0;

  constructor(options: AutumnEmulatorOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#features = new Set(options.features ?? [DEFAULT_FEATURE]);
    this.#file = new StateFile(options.stateFile);
    this.#keys = new KeyStore(this.#now, (change) => this.#file.append(change));
    this.#ledger = new Ledger((change) => this.#file.append(change));
    for (const change of this.#file.history) {
      if (change.type === "claim" || change.type === "release") this.#keys.replay(change);
      else this.#ledger.replay(change);
    }
  }

  get events(): readonly TrackEvent[] {
    return this.#ledger.events;
  }

  createCustomer(customerId: string): void {
    this.#ledger.createCustomer(customerId, this.#now());
  }

  grant(customerId: string, amount: DecimalText, featureId = DEFAULT_FEATURE): void {
    this.#ledger.createCustomer(customerId, this.#now());
    this.#ledger.addBalance(customerId, featureId, { granted: amount });
  }

  grantPlan(customerId: string, { featureId = DEFAULT_FEATURE, ...plan }: PlanGrant): void {
    this.#ledger.createCustomer(customerId, this.#now());
    this.#ledger.addBalance(customerId, featureId, plan);
  }

  subscribe(customerId: string, ...subscriptions: readonly EmulatedSubscription[]): void {
    const customer = this.#ledger.createCustomer(customerId, this.#now());
    customer.subscriptions.splice(0, customer.subscriptions.length, ...subscriptions);
  }

  loseEvents(customerId: string, count: number): void {
    const listed = this.events.filter((event) => event.customerId === customerId && !this.#ledger.lostEventIds.has(event.id));
    for (const event of listed.slice(-count)) this.#ledger.loseEvent(event.id);
  }

  loseDeductions(customerId: string, amount: DecimalText): void {
    const [first, ...others] = this.#ledger.balancesOf(customerId, DEFAULT_FEATURE);
    if (first)
      this.#ledger.setBalances(customerId, DEFAULT_FEATURE, [{ ...first, left: keepAmount(addDecimals(first.left, amount)) }, ...others]);
  }

  refuseLists(how: "no_analytics" | "forbidden" | undefined): void {
    const refusals = {
      no_analytics: new AutumnError(500, "internal_error", "Tinybird is not configured"),
      forbidden: new AutumnError(403, "forbidden", "Events are not part of this plan."),
    };
    this.#listRefusal = how && refusals[how];
  }

  deducted(customerId: string, featureId = DEFAULT_FEATURE): DecimalText {
    const events = this.events.filter((event) => event.customerId === customerId && event.featureId === featureId);
    return addDecimals(...events.map((event) => event.deducted));
  }

  remaining(customerId: string, featureId = DEFAULT_FEATURE): DecimalText | undefined {
    const balances = this.#ledger.balancesOf(customerId, featureId);
    return balances.length === 0 ? undefined : addDecimals(...balances.map(remainingOf));
  }

  countKey(idempotencyKey: string): { readonly sent: number; readonly applied: number } {
    const sent = this.calls.filter((call) => call.idempotencyKey === idempotencyKey).length;
    return { sent, applied: this.events.filter((event) => event.idempotencyKey === idempotencyKey && event.pieces.length > 0).length };
  }

  setCard(customerId: string, card: Card): void {
    this.#cards.set(customerId, card);
  }

  failNext(...faults: readonly AutumnFault[]): void {
    this.#faults.push(...faults);
  }

  fail(matches: (call: AutumnCall) => boolean, fault: AutumnFault): () => void {
    const rule = { matches, fault };
    this.#rules.unshift(rule);
    return () => void this.#rules.splice(this.#rules.indexOf(rule), this.#rules.includes(rule) ? 1 : 0);
  }

  spoil(matches: (call: AutumnCall) => boolean, how: TransportFault): () => void {
    const rule = { matches, how };
    this.#spoilers.unshift(rule);
    return () => void this.#spoilers.splice(this.#spoilers.indexOf(rule), this.#spoilers.includes(rule) ? 1 : 0);
  }

  unspoil(): void {
    for (const rules of [this.#faults, this.#rules, this.#spoilers]) rules.length = 0;
  }

  drainQueue(): void {
    for (const command of this.#queue.splice(0)) applyTrack(command, this.#ledger);
  }

  dropQueue(): void {
    this.#queue = [];
  }

  close(): void {
    this.#file.close();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let call: AutumnCall | undefined;
    try {
      this.#authorize(request);
      const apiVersion = this.#readVersion(request);
      call = this.#note(request, await readBody(request));
      this.#ledger.reset(this.#now());
      const answer = this.#answer(call, apiVersion);
      await this.#send(response, call, answer);
    } catch (error) {
      if (!(error instanceof AutumnError)) throw error;
      if (call) call.code = error.code;
      await this.#send(response, call, { answer: error.toAnswer() });
    }
  }

  async #send(response: ServerResponse, call: AutumnCall | undefined, { answer, how }: Sending): Promise<void> {
    const fault = how ?? (call && this.#spoilers.find((rule) => rule.matches(call))?.how);
    if (call && fault?.kind !== "silent" && fault?.kind !== "reset") call.status = fault?.kind === "page" ? fault.status : answer.status;
    await sendAnswer(response, answer, fault);
  }

  #authorize(request: IncomingMessage): void {
    const key = request.headers.authorization?.replace(/^Bearer\s+/i, "");
    if (!key) throw new AutumnError(401, "no_secret_key", "No secret key was given.");
    if (!key.startsWith("am_")) throw new AutumnError(401, "invalid_request", "The secret key is malformed.");
    if (this.#options.secretKey !== undefined && key !== this.#options.secretKey)
      throw new AutumnError(401, "invalid_secret_key", "The secret key is not valid.");
  }

  /** Without the header: the oldest behaviour there is. */
  #readVersion(request: IncomingMessage): readonly number[] {
    const text = String(request.headers["x-api-version"] ?? "0.2");
    const version = /^\d+(\.\d+){1,2}$/.test(text) ? text.split(".").map(Number) : undefined;
    const newest = (this.#options.maxApiVersion ?? "2.4.0").split(".").map(Number);
    if (!version || compareVersions(version, newest) > 0)
      throw new AutumnError(400, "invalid_api_version", `API version ${text} is not served.`);
    return version;
  }

  #note(request: IncomingMessage, body: Body): AutumnCall {
    this.#sequence += 1;
    const { customer_id: customerId } = body;
    const call: AutumnCall = {
      sequence: this.#sequence,
      method: request.method ?? "GET",
      path: (request.url ?? "/").replace(/\?.*$/s, ""),
      customerId: typeof customerId === "string" ? customerId : undefined,
      idempotencyKey: request.headers["idempotency-key"] as string | undefined,
      body,
      status: undefined,
      code: undefined,
      deducted: undefined,
    };
    this.calls.push(call);
    return call;
  }

  /** Claims the keys, works, and gives the keys back if that fails. */
  #answer(call: AutumnCall, apiVersion: readonly number[]): Sending {
    const isTrack = TRACK_PATHS.has(`${call.method} ${call.path}`);
    const isAttach = call.path === "/v1/billing.attach";
    const fault = isTrack || isAttach ? this.#takeFault(call) : undefined;
    const { idempotency_key: bodyKey } = call.body;
    const keys = [
      call.method === "POST" ? call.idempotencyKey : undefined,
      isTrack && typeof bodyKey === "string" ? `track:${bodyKey}` : undefined,
    ];
    const claimed: string[] = [];
    this.#welcome(call.customerId);
    try {
      for (const key of fault?.kind === "key_store_down" ? [] : keys) {
        if (key === undefined) continue;
        if (!this.#keys.claim(key)) throw new AutumnError(409, "duplicate_idempotency_key", "This idempotency key was used before.");
        claimed.push(key);
      }
      const context = {
        ledger: this.#ledger,
        features: this.#features,
        apiVersion,
        idempotencyKey: call.idempotencyKey,
        nowMs: this.#now(),
      };
      if (isAttach) return this.#attach(call, context, fault);
      if (call.path === "/v1/events.list" && this.#listRefusal) throw this.#listRefusal;
      if (call.path === "/v1/features.list") return { answer: listFeatures(this.#features, this.#options.featureKinds ?? {}) };
      return isTrack ? this.#track(call, context, fault) : { answer: route(call, context) };
    } catch (error) {
      if (error instanceof AutumnError && error.status !== 409) for (const key of claimed) this.#keys.release(key);
      throw error;
    }
  }

  #welcome(customerId: string | undefined): void {
    const { newCustomerCredits } = this.#options;
    if (newCustomerCredits === undefined || customerId === undefined || this.#ledger.customers.has(customerId)) return;
    if (LEGAL_CUSTOMER_ID.test(customerId)) this.grantPlan(customerId, { planId: "default", granted: newCustomerCredits });
  }

  #takeFault(call: AutumnCall): AutumnFault | undefined {
    return this.#faults.shift() ?? this.#rules.find((rule) => rule.matches(call))?.fault;
  }

  /** Of the faults, those that a charge can meet. */
  #attach(call: AutumnCall, context: RouteContext, fault: AutumnFault | undefined): Sending {
    const early = beforeWork(fault);
    if (early) return early;
    const answer = applyAttach(call.body, this.#cards.get(call.customerId ?? "") ?? "good", context);
    return afterWork(fault, answer);
  }

  #track(call: AutumnCall, context: RouteContext, fault: AutumnFault | undefined): Sending {
    if (fault?.kind === "status" || fault?.kind === "page") return beforeWork(fault) as Sending;
    const command = readTrack(call.body, context);
    const early = beforeWork(fault);
    if (early) return early;
    if (fault?.kind === "accept") {
      this.#queue.push(command);
      return {
        answer: { status: 202, body: { customer_id: command.event.customerId, value: Number(command.event.value), balance: null } },
      };
    }
    const event = applyTrack(command, this.#ledger);
    call.deducted = event.deducted;
    return afterWork(fault, trackAnswer(event, context));
  }
}

const TRACK_PATHS = new Set(["POST /v1/balances.track", "POST /v1/track", "POST /v1/events"]);

function route(call: AutumnCall, context: RouteContext): WireAnswer {
  switch (`${call.method} ${call.path}`) {
    case "POST /v1/balances.check":
    case "POST /v1/check":
      return check(call.body, context);
    case "POST /v1/balances.create":
      return createBalance(call.body, context);
    case "POST /v1/balances.update":
      return updateBalance(call.body, context);
    case "POST /v1/customers.get_or_create":
    case "POST /v1/customers":
      return getOrCreateCustomer(call.body, context);
    case "POST /v1/customers.get":
      return getCustomer(customerIdOf(call.body), context);
    case "POST /v1/events.list":
      return listEvents(call.body, context);
    default: {
      const customerId = call.method === "GET" ? /^\/v1\/customers\/([^/]+)$/.exec(call.path)?.[1] : undefined;
      if (customerId !== undefined) return getCustomer(decodeURIComponent(customerId), context);
      // The real server takes it for a page of its own site, and asks for a session.
      throw new AutumnError(401, "no_auth_header", "No authorization header was given.");
    }
  }
}

function compareVersions(a: readonly number[], b: readonly number[]): number {
  for (let part = 0; part < 3; part += 1) {
    const difference = (a[part] ?? 0) - (b[part] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
