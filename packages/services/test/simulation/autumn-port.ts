import { decimalFromNumber } from "@proliferate/testing/autumn-emulator/decimal";
import type { RemoteBalances } from "../../src/balance/remote-balance.ts";
import { createAutumnSinkOver } from "../../src/sinks/autumn/autumn.ts";
import type { AutumnClient, AutumnTrackRequest } from "../../src/sinks/autumn/autumn-client.ts";
import { orgIdFromCustomerId } from "../../src/sinks/autumn/customer-id.ts";
import type { SettlementSink } from "../../src/sinks/port/sink.ts";
import { type AutumnModel, GRANTED_CREDITS, type Track, type TrackReply } from "./autumn-model.ts";
import type { Mutation } from "./mutations.ts";
import type { SimulatedProcess } from "@proliferate/db/test/simulated-process";
import type { VirtualClock } from "@proliferate/db/test/virtual-clock";

const FEATURE = "credits";

/** Autumn as one process reaches it: whatever it asks is one step, and hearing the answer another. A crash between them loses the answer. */
export interface AutumnPort {
  /** The real sink, over a client that calls the model. */
  readonly sink: SettlementSink;
  readonly balances: RemoteBalances;
}

interface AutumnPortOptions {
  readonly autumn: AutumnModel;
  readonly clock: VirtualClock;
  readonly trace: string[];
  readonly overage: "overflow" | "cap";
  readonly mutation: Mutation;
}

export function openAutumnPort(process: SimulatedProcess, options: AutumnPortOptions): AutumnPort {
  const { autumn, clock, mutation } = options;
  const client = mutation.client(clientOf(process, options));
  return {
    sink: mutation.sink(createAutumnSinkOver(async () => client, { featureId: FEATURE, overage: options.overage })),
    balances: {
      readBalance: async (orgId) => {
        // Between what was delivered before and the reading, a real clock always moves.
        clock.pass(1);
        const remainingCredits = await process.wait(`balance of ${orgId}`, async () => autumn.remaining(orgId));
        return process.wait(`answer balance of ${orgId}`, async () => ({
          kind: "known" as const,
          remainingCredits,
          grantedCredits: GRANTED_CREDITS,
          forgivenCredits: "0",
          nextResetAt: null,
          subscription: null,
        }));
      },
    },
  };
}

function clientOf(process: SimulatedProcess, { autumn, trace }: AutumnPortOptions): AutumnClient {
  return {
    track: async (request, { headers }) => {
      const idempotencyKey = headers["Idempotency-Key"];
      const track = readTrack(request, idempotencyKey);
      // Corrections bear keys of their own kind.
      const isCorrection = idempotencyKey.startsWith("pc:");
      const reply = await process.wait(`${isCorrection ? "correct" : "call"} ${idempotencyKey}`, async () =>
        isCorrection ? autumn.correct(track) : autumn.receive(track),
      );
      trace.push(`  ${track.orgId} ${track.credits}: ${reply.kind} ${"code" in reply ? reply.code : ""}`);
      if (!isCorrection) await process.wait(`answer ${idempotencyKey}`, async () => undefined);
      return answerOf(reply, request.customerId);
    },
    customers: {
      get: async ({ customerId }) => {
        const orgId = orgIdFromCustomerId(customerId);
        return process.wait(`customer ${orgId}`, async () => {
          if (autumn.isDown) throw connectionError("ECONNREFUSED");
          if (autumn.stateOf(orgId) === "missing") throw httpError(404, "customer_not_found");
          if (autumn.stateOf(orgId) === "no_balance") return { id: customerId, balances: {} };
          return {
            id: customerId,
            balances: {
              [FEATURE]: {
                granted: Number(GRANTED_CREDITS),
                remaining: Number(autumn.remaining(orgId)),
                usage: Number(autumn.usage(orgId)),
                unlimited: false,
                nextResetAt: null,
                breakdown: [{ id: `balance_${autumn.renewals(orgId)}` }],
              },
            },
          };
        });
      },
      getOrCreate: async () => undefined,
    },
    events: {
      list: async ({ customerId }) => {
        const orgId = orgIdFromCustomerId(customerId);
        const events = await process.wait(`list ${orgId}`, async () => autumn.listEvents(orgId).map((event) => ({ ...event })));
        const list = events.map(({ batchId, value, tookNothing }, index) => ({
          id: `evt_${index}`,
          timestamp: 0,
          value: Number(value),
          deductions: tookNothing ? null : [{ value: Number(value) }],
          properties: { batch_id: batchId },
        }));
        return { list, nextCursor: null };
      },
    },
    features: { list: async () => ({ list: [] }) },
    billing: {
      attach: async () => {
        throw new Error("nothing is bought in the simulation");
      },
    },
  };
}

function readTrack({ customerId, value, properties }: AutumnTrackRequest, idempotencyKey: string): Track {
  // The number's own spelling: what a sealed amount is on its way.
  return {
    batchId: String(properties["batch_id"]),
    orgId: orgIdFromCustomerId(customerId),
    idempotencyKey,
    credits: decimalFromNumber(value),
  };
}

function answerOf(reply: TrackReply, customerId: string): Awaited<ReturnType<AutumnClient["track"]>> {
  switch (reply.kind) {
    case "took":
      return { status: 200, customerId, balance: { remaining: 0 }, deductions: [{ value: Number(reply.statedCredits) }] };
    case "took_nothing":
      return { status: 200, customerId, balance: null, deductions: [] };
    case "queued":
      return { status: 202, customerId, balance: null };
    case "refused":
      throw connectionError("ECONNREFUSED");
    case "lost":
      throw connectionError("ECONNRESET");
    case "timeout":
      throw Object.assign(new Error("no answer"), { name: "RequestTimeoutError" });
    case "error":
      throw httpError(reply.status, reply.code, reply.retryAfterSeconds);
  }
}

const connectionError = (code: string): Error => Object.assign(new Error("the connection failed"), { code });

function httpError(statusCode: number, code: string, retryAfterSeconds?: number): Error {
  const headers = new Headers(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) });
  return Object.assign(new Error(`Autumn answered ${statusCode}`), { statusCode, body: JSON.stringify({ code }), headers });
}
