import { type CounterName, type Facts, nameOf, unitsOf } from "./facts.ts";

/** The rules of limits, said a second time in plain integers: what the product does is compared with this, and shares no code with it. */

export interface Caller {
  /** The key's id. */
  readonly keyHash: string;
  /** Of the secret that was shown. */
  readonly shownHash: string;
  readonly userId: string;
  readonly teamId: string | null;
  readonly payerId: string | null;
}

/** What a request takes at least and at most of each meter, in the model's units. */
export interface Asked {
  readonly model: string;
  readonly least: Readonly<Record<string, bigint>>;
  readonly most: Readonly<Record<string, bigint>>;
}

interface Counter {
  used: bigint;
  reserved: bigint;
}
export type Counters = Map<string, Counter>;

/** A limit that is set, without the window that is open. */
interface SetLimit extends Omit<CounterName, "start"> {
  /** Null: none, and counted all the same. */
  readonly amount: bigint | null;
  readonly isRefusing: boolean;
}

/** What admission goes by, beside counters: what is set, which keys live, what time it is. */
export interface Setting {
  readonly limits: readonly SetLimit[];
  /** By their ids. */
  readonly liveKeys: ReadonlySet<string>;
  /** Hashes of what may be shown. */
  readonly usable: ReadonlySet<string>;
  readonly nowMs: number;
}

/** LiteLLM's `max_budget`, which is a limit like the others. */
const budgetOf =
  (kind: string) =>
  (owner: { readonly id: string; readonly max_usd: string | null }): SetLimit => ({
    kind,
    id: owner.id,
    meter: "usd",
    window: "total",
    model: "",
    amount: owner.max_usd === null ? null : unitsOf("usd", owner.max_usd),
    isRefusing: true,
  });

export function settingOf(facts: Facts, nowMs: number): Setting {
  const limits = facts.limits.map(({ amount, enforce, ...limit }) => ({
    ...limit,
    amount: unitsOf(limit.meter, amount),
    isRefusing: enforce === "refuse",
  }));
  return {
    limits: [...facts.keys.map(budgetOf("key")), ...facts.teams.map(budgetOf("team")), ...limits],
    liveKeys: new Set(facts.keys.map(({ id }) => id)),
    usable: new Set(facts.usable.filter(({ until_ms: untilMs }) => untilMs === null || untilMs > nowMs).map(({ hash }) => hash)),
    nowMs,
  };
}

export const isBudget = ({ kind, meter, window, model }: Omit<CounterName, "start">): boolean =>
  (kind === "key" || kind === "team") && meter === "usd" && window === "total" && model === "";

const HOUR_MS = 3_600_000;
/** Length of each window, and how much later than in UTC its hours are told. */
const WINDOWS: Readonly<Record<string, readonly [lengthMs: number, aheadMs: number]>> = {
  "hour": [HOUR_MS, 0],
  "5h": [5 * HOUR_MS, 0],
  "day@Asia/Tokyo": [24 * HOUR_MS, 9 * HOUR_MS],
};

/** When the window began that is open. */
function windowStart(window: string, nowMs: number): number | null {
  const [lengthMs, aheadMs] = WINDOWS[window] ?? [0, 0];
  return lengthMs === 0 ? null : Math.floor((nowMs + aheadMs) / lengthMs) * lengthMs - aheadMs;
}

/** The limits of a request's path, each with its open window. */
export function limitsOf({ limits, nowMs }: Setting, caller: Caller, model: string): readonly (SetLimit & CounterName)[] {
  const path = new Set([`key ${caller.keyHash}`, `user ${caller.userId}`]);
  if (caller.teamId !== null) path.add(`team ${caller.teamId}`).add(`payer ${caller.payerId}`);
  return limits
    .filter((limit) => path.has(`${limit.kind} ${limit.id}`) && (limit.model === "" || limit.model === model))
    .map((limit) => ({ ...limit, start: windowStart(limit.window, nowMs) }));
}

/** Whether every limit has room for what a request takes at least: something must be left, and that much. */
export function hasRoom(setting: Setting, caller: Caller, asked: Asked, counters: Counters): boolean {
  return limitsOf(setting, caller, asked.model).every((limit) => {
    if (limit.amount === null || !limit.isRefusing) return true;
    const { used, reserved } = counters.get(nameOf(limit)) ?? { used: 0n, reserved: 0n };
    const left = limit.amount - used - reserved;
    return left > 0n && left >= (asked.least[limit.meter] ?? 0n);
  });
}

export function add(counters: Counters, name: string, { used = 0n, reserved = 0n }: Partial<Counter>): void {
  const counter = counters.get(name) ?? { used: 0n, reserved: 0n };
  counters.set(name, { used: counter.used + used, reserved: counter.reserved + reserved });
}
