import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

interface StripeStandInOptions {
  readonly secretKey: string;
  /** `event_name` of its meters. Default `credits`. */
  readonly meters?: readonly string[];
  /** Milliseconds since 1970, for identifiers that expire after 24 h. Default Date.now. */
  readonly now?: () => number;
}

interface MeterEvent {
  readonly identifier: string;
  readonly eventName: string;
  readonly customerId: string;
  /** A whole number. */
  readonly value: bigint;
  readonly createdMs: number;
}

type StripeFault =
  /** Nothing is taken. */
  | { readonly kind: "status"; readonly status: number; readonly retryAfterSeconds?: number }
  /** Taken; the answer is lost. */
  | { readonly kind: "reset_after_apply" };

export interface StripeStandIn {
  readonly url: string;
  /** What was taken, oldest first. */
  readonly events: readonly MeterEvent[];
  /** Sum of a customer's values. */
  total(customerId: string): bigint;
  /** Spoils the next calls, one each. */
  failNext(...faults: readonly StripeFault[]): void;
  stop(): Promise<void>;
}

const IDENTIFIER_MS = 24 * 60 * 60 * 1_000;

/** Stripe's `POST /v1/billing/meter_events`: form-encoded, whole numbers of at most 15 digits, identifiers unique for 24 h. */
export async function startStripeStandIn(options: StripeStandInOptions): Promise<StripeStandIn> {
  const events: MeterEvent[] = [];
  const faults: StripeFault[] = [];
  const now = options.now ?? Date.now;
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refuse = (status: number, code: string | undefined, message: string, headers = {}): void =>
      void response
        .writeHead(status, { "content-type": "application/json", ...headers })
        .end(JSON.stringify({ error: { code, type: "invalid_request_error", message } }));
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk as string;
    if (request.headers.authorization !== `Bearer ${options.secretKey}`) return refuse(401, undefined, "Invalid API Key provided.");
    if (request.method !== "POST" || request.url !== "/v1/billing/meter_events") return refuse(404, undefined, "Unrecognized request URL.");
    const fault = faults.shift();
    if (fault?.kind === "status")
      return refuse(
        fault.status,
        undefined,
        "Scripted failure.",
        fault.retryAfterSeconds === undefined ? {} : { "retry-after": String(fault.retryAfterSeconds) },
      );
    const event = readEvent(new URLSearchParams(text), now());
    if (typeof event === "string") return refuse(400, "parameter_invalid", event);
    if (!(options.meters ?? ["credits"]).includes(event.eventName))
      return refuse(400, undefined, `No active meter found for event name ${event.eventName}.`);
    if (events.some((known) => known.identifier === event.identifier && now() - known.createdMs < IDENTIFIER_MS)) {
      return refuse(400, "duplicate_meter_event", `An event already exists with identifier ${event.identifier}.`);
    }
    events.push(event);
    if (fault?.kind === "reset_after_apply") return void request.socket.resetAndDestroy();
    const payload = { stripe_customer_id: event.customerId, value: String(event.value) };
    const body = {
      object: "billing.meter_event",
      created: Math.floor(event.createdMs / 1_000),
      event_name: event.eventName,
      identifier: event.identifier,
      livemode: false,
      payload,
      timestamp: Math.floor(event.createdMs / 1_000),
    };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    events,
    total: (customerId) => events.filter((event) => event.customerId === customerId).reduce((sum, event) => sum + event.value, 0n),
    failNext: (...more) => void faults.push(...more),
    stop: async () =>
      new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** The event, or what is wrong with the form. */
function readEvent(form: URLSearchParams, createdMs: number): MeterEvent | string {
  const eventName = form.get("event_name");
  const identifier = form.get("identifier");
  const customerId = form.get("payload[stripe_customer_id]");
  const value = form.get("payload[value]") ?? "";
  if (!eventName || !identifier || identifier.length > 100) return "event_name and an identifier of at most 100 characters are needed.";
  if (!customerId?.startsWith("cus_")) return "payload[stripe_customer_id] must be a customer.";
  if (!/^-?\d+$/.test(value) || value.replace(/^-|0+$/g, "").length > 15)
    return "payload[value] must be a whole number of at most 15 significant digits.";
  return { identifier, eventName, customerId, value: BigInt(value), createdMs };
}
