import type { RemoteBalances } from "../../src/balance/remote-balance.ts";
import type { SettlementLedgerView, SettlementSink } from "../../src/billing/sink.ts";
import { type AutumnModel, GRANTED_CREDITS } from "./autumn-model.ts";
import type { SimulatedProcess } from "./simulated-process.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Autumn as one process reaches it: whatever it asks is one step, and hearing the answer another. */
export interface AutumnPort {
  readonly sink: SettlementSink;
  readonly balances: RemoteBalances;
  readonly ledger: SettlementLedgerView;
}

export function openAutumnPort(process: SimulatedProcess, { autumn, clock, trace }: { readonly autumn: AutumnModel; readonly clock: VirtualClock; readonly trace: string[] }): AutumnPort {
  return {
    // A crash between the two steps loses the answer.
    sink: {
      name: "autumn_model",
      deliver: async (delivery) => {
        const outcome = await process.wait(`call ${delivery.idempotencyKey}`, async () => autumn.receive(delivery));
        trace.push(`  ${delivery.orgId} ${delivery.credits}: ${outcome.kind} ${outcome.code ?? ""}`);
        return process.wait(`answer ${delivery.idempotencyKey}`, async () => outcome);
      },
    },
    balances: {
      readBalance: async (orgId) => {
        // Between what was delivered before and the reading, a real clock always moves.
        clock.pass(1);
        const remainingCredits = await process.wait(`balance of ${orgId}`, async () => autumn.remaining(orgId));
        return process.wait(`answer balance of ${orgId}`, async () => ({ kind: "known" as const, remainingCredits, grantedCredits: GRANTED_CREDITS, forgivenCredits: "0", nextResetAt: null, subscription: null }));
      },
    },
    ledger: {
      listDeductions: (orgId) => process.wait(`list ${orgId}`, async () => autumn.listDeductions(orgId)),
      readUsage: (orgId) => process.wait(`usage ${orgId}`, async () => ({ credits: autumn.deducted(orgId), grantedCredits: GRANTED_CREDITS })),
      correct: (correction) => process.wait(`correct ${correction.idempotencyKey}`, async () => autumn.correct(correction)),
    },
  };
}
