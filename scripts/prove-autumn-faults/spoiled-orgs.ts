import type { AutumnFault, TransportFault } from "@proliferate/testing/autumn-emulator/faults";
import type { AutumnCall, AutumnEmulator } from "@proliferate/testing/autumn-emulator/server";

/** An org whose answers go wrong in one way. */
interface SpoiledOrg {
  readonly orgId: string;
  /** Its tracks: so many attempts at each batch are spoiled. */
  readonly track?: AutumnFault;
  readonly times?: number;
  /** Its other calls: customers and lists of events. */
  readonly reads?: TransportFault;
}

const transport = (how: TransportFault): AutumnFault => ({ kind: "transport", how });

/** Every way that is known, each with an org of its own. Those that take the whole time-out spoil one attempt, so that the run ends. */
export const SPOILED_ORGS: readonly SpoiledOrg[] = [
  { orgId: "silent", track: { kind: "hang", applied: false }, reads: { kind: "silent" } },
  { orgId: "silent_applied", track: { kind: "hang", applied: true } },
  { orgId: "slow", track: transport({ kind: "slow", afterMs: 12_000 }), reads: { kind: "slow", afterMs: 12_000 } },
  { orgId: "too_slow", track: transport({ kind: "slow", afterMs: 55_000 }) },
  { orgId: "cut_body", track: transport({ kind: "cut_body" }), times: 2, reads: { kind: "cut_body" } },
  { orgId: "stall_body", track: transport({ kind: "stall_body" }), reads: { kind: "stall_body" } },
  { orgId: "drip", track: transport({ kind: "drip", everyMs: 200 }) },
  { orgId: "endless", track: transport({ kind: "endless" }), reads: { kind: "endless" } },
  { orgId: "reset_before", track: { kind: "reset_before_apply" } },
  { orgId: "reset_after", track: { kind: "reset_after_apply" }, times: 2, reads: { kind: "reset" } },
  { orgId: "500_after", track: transport({ kind: "page", status: 500 }), times: 2 },
  { orgId: "204_after", track: { kind: "no_content" }, times: 2 },
  { orgId: "202_after", track: { kind: "accept" } },
  { orgId: "429", track: { kind: "status", status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 5 }, times: 2 },
  { orgId: "502_page", track: { kind: "page", status: 502 }, times: 2, reads: { kind: "page", status: 502 } },
  { orgId: "503", track: { kind: "status", status: 503, code: "unavailable", retryAfterSeconds: 1 }, times: 2 },
  { orgId: "408", track: { kind: "status", status: 408 }, times: 2 },
  { orgId: "500", track: { kind: "status", status: 500 }, times: 2 },
];

/** Spoils the calls of all of them; returns how often each was spoiled, as it goes. */
export function spoilAll(autumn: AutumnEmulator): ReadonlyMap<string, number> {
  const spoiled = new Map<string, number>(SPOILED_ORGS.map((org) => [org.orgId, 0]));
  const attempts = new Map<string, number>();
  for (const { orgId, track, times = 1, reads } of SPOILED_ORGS) {
    const isDue = (call: AutumnCall): boolean => {
      if (call.customerId !== orgId || call.idempotencyKey === undefined || call.idempotencyKey.startsWith("pc:")) return false;
      const count = (attempts.get(call.idempotencyKey) ?? 0) + 1;
      attempts.set(call.idempotencyKey, count);
      if (count > times) return false;
      spoiled.set(orgId, (spoiled.get(orgId) ?? 0) + 1);
      return true;
    };
    if (track) autumn.fail(isDue, track);
    if (reads) autumn.spoil((call) => call.customerId === orgId && call.path !== "/v1/balances.track", reads);
  }
  return spoiled;
}
