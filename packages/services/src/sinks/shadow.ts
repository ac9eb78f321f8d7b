import type { DeliveryOutcome, SettlementSink } from "./port/sink.ts";
import type { ShadowResult } from "./db.ts";

/** Which sink counts, and which one only listens. */
interface ShadowOptions {
  /** The one that counts. */
  readonly primary: SettlementSink;
  /** Gets the same deliveries; whatever it does changes nothing. */
  readonly shadow: SettlementSink;
  /** Keeps what both answered. */
  readonly record: (result: ShadowResult) => Promise<void>;
  /** Told when the answer of the shadow could not be kept. */
  readonly onError?: (error: unknown) => void;
}

/**
 * Sends every attempt to two sinks and keeps both answers for a report of differences, as before a move from one to the
 * other. The primary's answer is returned as soon as it is there; the shadow's failures, slowness and throws stay its own.
 */
export function createShadowedSink({
  primary,
  shadow,
  record,
  onError,
}: ShadowOptions): SettlementSink & { /** Resolves when every answer so far was kept. */ readonly settled: () => Promise<void> } {
  const running = new Set<Promise<void>>();
  return {
    ...primary,
    async deliver(delivery) {
      const first = primary.deliver(delivery);
      const kept: Promise<void> = Promise.allSettled([first, shadow.deliver(delivery)])
        .then(async (answers) => {
          const [ofPrimary, ofShadow] = answers.map(outcomeOf) as [DeliveryOutcome, DeliveryOutcome];
          await record({
            batchId: delivery.batchId,
            sink: shadow.name,
            idempotencyKey: delivery.idempotencyKey,
            primaryOutcome: ofPrimary.kind,
            primaryCredits: creditsOf(ofPrimary),
            shadowOutcome: ofShadow.kind,
            shadowCredits: creditsOf(ofShadow),
            shadowCode: ofShadow.code ?? null,
          });
        })
        .catch((error: unknown) => onError?.(error))
        .finally(() => running.delete(kept));
      running.add(kept);
      return first;
    },
    settled: async () => void (await Promise.all(running)),
  };
}

function outcomeOf(answer: PromiseSettledResult<DeliveryOutcome>): DeliveryOutcome {
  return answer.status === "fulfilled" ? answer.value : { kind: "unknown", code: "sink_failed" };
}

const creditsOf = (outcome: DeliveryOutcome): string | null => ("deductedCredits" in outcome ? outcome.deductedCredits : null);
