import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import type { Delivery, DeliveryOutcome, SettlementSink } from "../src/sinks/port/sink.ts";

type Script = (delivery: Delivery) => DeliveryOutcome | "lose_answer" | undefined;

/**
 * For tests only: a sink that takes each key once and remembers it. A script may answer in its place (nothing is taken),
 * or let it take the credits and lose the answer. For Autumn's own behaviour there is the emulator.
 */
export class ScriptedSink implements SettlementSink {
  readonly name = "scripted";
  /** Every call, in order. */
  readonly calls: Delivery[] = [];
  script: Script = () => undefined;
  readonly #taken = new Map<string, { orgId: string; credits: DecimalText }>();

  async deliver(delivery: Delivery): Promise<DeliveryOutcome> {
    this.calls.push(delivery);
    const scripted = this.script(delivery);
    if (scripted !== undefined && scripted !== "lose_answer") return scripted;
    if (this.#taken.has(delivery.idempotencyKey)) return { kind: "duplicate", status: 409, code: "duplicate_idempotency_key" };
    this.#taken.set(delivery.idempotencyKey, { orgId: delivery.orgId, credits: delivery.credits });
    if (scripted === "lose_answer") return { kind: "unknown", code: "timeout" };
    return { kind: "delivered", status: 200, deductedCredits: delivery.credits, balanceAfter: "0" };
  }

  /** Everything taken, of one org or of all. */
  total(orgId?: string): DecimalText {
    return addDecimals(...[...this.#taken.values()].filter((one) => orgId === undefined || one.orgId === orgId).map((one) => one.credits));
  }
}
