import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { applyAttach, type Card } from "./attach.ts";
import type { AutumnFault } from "./faults.ts";
import { KeyStore } from "./key-store.ts";
import { Ledger, remainingOf, type TrackEvent } from "./ledger.ts";
import { applyTrack, check, getCustomer, getOrCreateCustomer, listEvents, readTrack, type RouteContext, trackAnswer, type TrackCommand, updateBalance } from "./routes.ts";
import { StateFile } from "./state-file.ts";
import { AutumnError, type Body, customerIdOf, readBody, type WireAnswer } from "./wire.ts";

export interface AutumnEmulatorOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** What `Authorization: Bearer` must carry. Default: any, but one there must be. */
  readonly secretKey?: string;
  /** The organization's features. Default `["credits"]`. */
  readonly features?: readonly string[];
  /** Every customer that is asked for exists and was granted this much, as where a plan is enabled for all; default: none is made up. */
  readonly newCustomerCredits?: DecimalText;
  /** The newest API version that is served. Default 2.4.0. */
  readonly maxApiVersion?: string;
  /** Keeps everything in this file over restarts, kill -9 included. Default: only in memory. */
  readonly stateFile?: string;
  /** Milliseconds since 1970; for keys that expire and timestamps in the future. Default Date.now. */
  readonly now?: () => number;
}

/** One `track`, `check` or other call as it came. */
export interface AutumnCall {
  readonly sequence: number;
  readonly method: string;
  readonly path: string;
  readonly customerId: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly body: Body;
  /** Undefined while it hangs, and when the connection was reset. */
  status: number | undefined;
  /** Autumn's code of an error answer. */
  code: string | undefined;
  /** What a `track` took; undefined if it was not applied. */
  deducted: DecimalText | undefined;
}

export interface AutumnEmulator {
  /** Without a trailing slash and without `/v1`. */
  readonly url: string;
  readonly port: number;
  /** Every authorized call, oldest first. */
  readonly calls: readonly AutumnCall[];
  /** Every track that was applied, oldest first. */
  readonly events: readonly TrackEvent[];
  /** Creates the customer if needed and adds to what it was granted. Feature default `credits`. */
  grant(customerId: string, amount: DecimalText, featureId?: string): void;
  /** Creates a customer without any balance. */
  createCustomer(customerId: string): void;
  /** Exact sum of what tracks took from the customer. */
  deducted(customerId: string, featureId?: string): DecimalText;
  /** What is left, never negative; undefined without a balance. */
  remaining(customerId: string, featureId?: string): DecimalText | undefined;
  /** How often a key was sent, and how often it was applied (0 or 1, if all is well). */
  countKey(idempotencyKey: string): { readonly sent: number; readonly applied: number };
  /** What charging this customer does from now on. Default good. */
  setCard(customerId: string, card: Card): void;
  /** Spoils the next tracks and attaches, one each. */
  failNext(...faults: readonly AutumnFault[]): void;
  /** Spoils every matching track (after the queue of `failNext`) until the returned function is called. */
  fail(matches: (call: AutumnCall) => boolean, fault: AutumnFault): () => void;
  /** Applies what 202 answers promised. */
  drainQueue(): void;
  /** Loses it. */
  dropQueue(): void;
  /** Cuts every connection, closes the state file. Idempotent. */
  stop(): Promise<void>;
}

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
    const balance = this.#ledger.createCustomer(customerId, this.#now()).balances.get(featureId);
    this.#ledger.setBalance(customerId, featureId, { granted: addDecimals(balance?.granted ?? "0", amount), usage: balance?.usage ?? "0" });
  }

  deducted(customerId: string, featureId = DEFAULT_FEATURE): DecimalText {
    const events = this.events.filter((event) => event.customerId === customerId && event.featureId === featureId);
    return addDecimals(...events.map((event) => event.deducted));
  }

  remaining(customerId: string, featureId = DEFAULT_FEATURE): DecimalText | undefined {
    const balance = this.#ledger.customers.get(customerId)?.balances.get(featureId);
    return balance && remainingOf(balance);
  }

  countKey(idempotencyKey: string): { readonly sent: number; readonly applied: number } {
    const sent = this.calls.filter((call) => call.idempotencyKey === idempotencyKey).length;
    return { sent, applied: this.events.filter((event) => event.idempotencyKey === idempotencyKey).length };
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
      const answer = this.#answer(call, apiVersion);
      if (!answer) return;
      send(response, call, answer);
    } catch (error) {
      if (error === RESET) return void request.socket.resetAndDestroy();
      if (!(error instanceof AutumnError)) throw error;
      if (call) call.code = error.code;
      send(response, call, error.toAnswer());
    }
  }

  #authorize(request: IncomingMessage): void {
    const key = request.headers.authorization?.replace(/^Bearer\s+/i, "");
    if (!key) throw new AutumnError(401, "no_secret_key", "No secret key was given.");
    if (this.#options.secretKey !== undefined && key !== this.#options.secretKey) throw new AutumnError(401, "invalid_secret_key", "The secret key is not valid.");
  }

  /** Without the header: the oldest behaviour there is. */
  #readVersion(request: IncomingMessage): readonly number[] {
    const text = String(request.headers["x-api-version"] ?? "0.2");
    const version = /^\d+(\.\d+){1,2}$/.test(text) ? text.split(".").map(Number) : undefined;
    const newest = (this.#options.maxApiVersion ?? "2.4.0").split(".").map(Number);
    if (!version || compareVersions(version, newest) > 0) throw new AutumnError(400, "invalid_api_version", `API version ${text} is not served.`);
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

  /** Claims the keys, works, and gives the keys back if that fails. Undefined: never to be answered. */
  #answer(call: AutumnCall, apiVersion: readonly number[]): WireAnswer | undefined {
    const isTrack = TRACK_PATHS.has(`${call.method} ${call.path}`);
    const isAttach = call.path === "/v1/billing.attach";
    const fault = isTrack || isAttach ? this.#takeFault(call) : undefined;
    const { idempotency_key: bodyKey } = call.body;
    const keys = [call.method === "POST" ? call.idempotencyKey : undefined, isTrack && typeof bodyKey === "string" ? `track:${bodyKey}` : undefined];
    const claimed: string[] = [];
    this.#welcome(call.customerId);
    try {
      for (const key of fault?.kind === "key_store_down" ? [] : keys) {
        if (key === undefined) continue;
        if (!this.#keys.claim(key)) throw new AutumnError(409, "duplicate_idempotency_key", "This idempotency key was used before.");
        claimed.push(key);
      }
      const context = { ledger: this.#ledger, features: this.#features, apiVersion, idempotencyKey: call.idempotencyKey, nowMs: this.#now() };
      if (isAttach) return this.#attach(call, context, fault);
      return isTrack ? this.#track(call, context, fault) : route(call, context);
    } catch (error) {
      if (error instanceof AutumnError && error.status !== 409) for (const key of claimed) this.#keys.release(key);
      throw error;
    }
  }

  #welcome(customerId: string | undefined): void {
    const { newCustomerCredits } = this.#options;
    if (newCustomerCredits === undefined || customerId === undefined || this.#ledger.customers.has(customerId)) return;
    if (LEGAL_CUSTOMER_ID.test(customerId)) this.grant(customerId, newCustomerCredits);
  }

  #takeFault(call: AutumnCall): AutumnFault | undefined {
    return this.#faults.shift() ?? this.#rules.find((rule) => rule.matches(call))?.fault;
  }

  /** Of the faults, those that a charge can meet. */
  #attach(call: AutumnCall, context: RouteContext, fault: AutumnFault | undefined): WireAnswer | undefined {
    if (fault?.kind === "status") throw new AutumnError(fault.status, fault.code ?? "internal_error", "Scripted failure.", fault.retryAfterSeconds);
    if (fault?.kind === "reset_before_apply") throw RESET;
    if (fault?.kind === "hang" && !fault.applied) return undefined;
    const answer = applyAttach(call.body, this.#cards.get(call.customerId ?? "") ?? "good", context);
    if (fault?.kind === "reset_after_apply") throw RESET;
    if (fault?.kind === "hang") return undefined;
    if (fault?.kind === "status_after_apply") throw new AutumnError(fault.status, "internal_error", "Scripted failure after the charge.");
    return answer;
  }

  #track(call: AutumnCall, context: RouteContext, fault: AutumnFault | undefined): WireAnswer | undefined {
    if (fault?.kind === "status") throw new AutumnError(fault.status, fault.code ?? "internal_error", "Scripted failure.", fault.retryAfterSeconds);
    const command = readTrack(call.body, context);
    if (fault?.kind === "reset_before_apply") throw RESET;
    if (fault?.kind === "hang" && !fault.applied) return undefined;
    if (fault?.kind === "accept") {
      this.#queue.push(command);
      return { status: 202, body: { customer_id: command.event.customerId, value: Number(command.event.value), balance: null } };
    }
    call.deducted = applyTrack(command, this.#ledger);
    if (fault?.kind === "reset_after_apply") throw RESET;
    if (fault?.kind === "hang") return undefined;
    if (fault?.kind === "status_after_apply") throw new AutumnError(fault.status, "internal_error", "Scripted failure after the deduction.");
    return fault?.kind === "no_content" ? { status: 204, body: undefined } : trackAnswer(command, call.deducted, context);
  }
}

/** Thrown where the server dies: the connection is reset and the keys stay claimed. */
const RESET = Symbol("reset");

const LEGAL_CUSTOMER_ID = /^[A-Za-z0-9_:-]+$/;

const TRACK_PATHS = new Set(["POST /v1/balances.track", "POST /v1/track", "POST /v1/events"]);

function route(call: AutumnCall, context: RouteContext): WireAnswer {
  switch (`${call.method} ${call.path}`) {
    case "POST /v1/balances.check":
    case "POST /v1/check":
      return check(call.body, context);
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
      throw new AutumnError(404, "not_found", `${call.method} ${call.path} does not exist.`);
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

function send(response: ServerResponse, call: AutumnCall | undefined, answer: WireAnswer): void {
  if (call) call.status = answer.status;
  response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
  response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
}
