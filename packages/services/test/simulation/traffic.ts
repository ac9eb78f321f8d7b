import { type Command, type LimitPlan, type Operation, PRINCIPALS, type Seat } from "@proliferate/access/test/limit-model/commands";
import type { Random } from "./random.ts";

/**
 * Requests through our own proxies, beside the rows that other engines write: admitted under limits, checkpointed, settled, recovered after crashes, by
 * the real code, and compared after each step with the reference model of limits (`packages/access/test/limit-model`). What they settle is billed.
 */
interface TrafficPlan {
  readonly limits: readonly LimitPlan[];
  readonly commands: readonly Command[];
}

/** Users of the orgs; each org pays for itself, as the schedules have it. */
export const TRAFFIC_SEATS: readonly Seat[] = [
  { userId: "u1", teamId: "org_a", payerId: "org_a" },
  { userId: "u1", teamId: "org_b", payerId: "org_b" },
  { userId: "u2", teamId: "org_a", payerId: "org_a" },
];

/** So many commands, and limits that they meet. */
export function planTraffic(random: Random, length: number): TrafficPlan {
  return {
    limits: Array.from({ length: random.whole(1, 4) }, () => planLimit(random)),
    commands: Array.from({ length }, () => planCommand(random)),
  };
}

function planLimit(random: Random): LimitPlan {
  return {
    principal: random.pick(PRINCIPALS),
    meter: random.pick(["usd", "requests", "tokens", "parallel"]),
    window: random.pick(["total", "hour", "5h", "day@Asia/Tokyo"]),
    model: random.pick(["", "", "m1"]),
    amount: random.whole(1, 7),
    enforce: random.pick(["refuse", "refuse", "refuse", "count"]),
  };
}

function planCommand(random: Random): Command {
  const proxy = random.whole(0, 1);
  const kind = random.weighted([
    [14, "begin"],
    [4, "work"],
    [2, "crash"],
    [1, "lose_lock"],
    [1, "cut"],
  ] as const);
  switch (kind) {
    case "begin":
      return { kind, proxy, operation: planOperation(random), steps: random.isLucky(0.6) ? 20 : random.whole(0, 5) };
    case "work":
      return { kind, proxy, steps: random.whole(1, 5), roll: random.whole(0, 999) };
    case "cut":
      return { kind, proxy, isExecuted: random.isLucky(0.6), roll: random.whole(0, 999) };
    default:
      return { kind, proxy };
  }
}

function planOperation(random: Random): Operation {
  const kind = random.weighted([
    [12, "admit"],
    [9, "settle"],
    [2, "checkpoint"],
    [2, "recover"],
    [1, "edit"],
    [1, "mint"],
    [1, "delete"],
  ] as const);
  const [seat, roll, output] = [random.whole(0, TRAFFIC_SEATS.length - 1), random.whole(0, 999), random.whole(0, 4)];
  switch (kind) {
    case "admit":
      return { kind, seat, model: random.pick(["m1", "m2"]), least: random.whole(1, 3), input: random.whole(1, 3), output };
    case "settle":
      return { kind, roll, output, how: random.pick(["whole", "whole", "void", "failed"]) };
    case "checkpoint":
      return { kind, roll, output };
    case "edit":
      return { kind, limit: planLimit(random), isTakenAway: random.isLucky(0.5) };
    case "recover":
      return { kind };
    default:
      return { kind, seat };
  }
}
