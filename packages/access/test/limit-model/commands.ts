import fc from "fast-check";

/**
 * What is done to the limits of a small organization. Every command can be given at any time (one that finds nothing to do does nothing), so a list
 * from which commands were taken out is one, too: that is how fast-check shrinks.
 */

/** Who may have a limit. */
export const PRINCIPALS = ["payer org_a", "team org_a", "team org_b", "user u1", "user u2", "key of seat 0", "key of seat 1"] as const;
/** A user of a team, who has keys, and who pays for it. */
export interface Seat {
  readonly userId: string;
  readonly teamId: string | null;
  readonly payerId: string | null;
}
/** One team pays for both. */
export const SEATS: readonly Seat[] = [
  { userId: "u1", teamId: "org_a", payerId: "org_a" },
  { userId: "u1", teamId: "org_b", payerId: "org_a" },
  { userId: "u2", teamId: "org_a", payerId: "org_a" },
  { userId: "u2", teamId: null, payerId: null },
];
const MODELS = ["m1", "m2"] as const;

export interface LimitPlan {
  readonly principal: (typeof PRINCIPALS)[number];
  readonly meter: "usd" | "requests" | "tokens" | "parallel";
  readonly window: "total" | "hour" | "5h" | "day@Asia/Tokyo";
  readonly model: "" | "m1" | "m2";
  /** In thousandths of a USD, in requests, in tokens. */
  readonly amount: number;
  readonly enforce: "refuse" | "count";
}

export type Operation =
  /** In thousandths of a USD and in tokens; each token of output costs a thousandth. */
  | {
      readonly kind: "admit";
      readonly seat: number;
      readonly model: string;
      readonly least: number;
      readonly input: number;
      readonly output: number;
    }
  | { readonly kind: "checkpoint"; readonly roll: number; readonly output: number }
  | { readonly kind: "settle"; readonly roll: number; readonly output: number; readonly how: "whole" | "void" | "failed" }
  | { readonly kind: "edit"; readonly limit: LimitPlan; readonly isTakenAway: boolean }
  | { readonly kind: "mint"; readonly seat: number }
  /** The oldest key of the seat, where there are two. */
  | { readonly kind: "delete"; readonly seat: number }
  /** The newest key of the seat gets a new secret; the former one is good for two hours more, or not at all. */
  | { readonly kind: "regenerate"; readonly seat: number; readonly hasGrace: boolean }
  | { readonly kind: "recover" };

export type Command =
  /** The proxy begins something, and makes so many steps. */
  | { readonly kind: "begin"; readonly proxy: number; readonly operation: Operation; readonly steps: number }
  /** So many steps of what the proxy has begun; `roll` picks among them. */
  | { readonly kind: "work"; readonly proxy: number; readonly steps: number; readonly roll: number }
  /** kill -9; another process takes its place. */
  | { readonly kind: "crash"; readonly proxy: number }
  /** It lives, and is taken for dead. */
  | { readonly kind: "lose_lock"; readonly proxy: number }
  /** Its next statement fails as on a broken connection, before or after PostgreSQL executed it. */
  | { readonly kind: "cut"; readonly proxy: number; readonly isExecuted: boolean; readonly roll: number }
  | { readonly kind: "time"; readonly hours: number };

export interface Plan {
  readonly limits: readonly LimitPlan[];
  readonly commands: readonly Command[];
}

/** How often each thing comes. */
interface Weights {
  readonly admit: number;
  readonly settle: number;
  readonly checkpoint: number;
  readonly edit: number;
  readonly mint: number;
  readonly delete: number;
  readonly regenerate: number;
  readonly recover: number;
  readonly work: number;
  /** Of what is begun: how much is not done at one go. */
  readonly interrupted: number;
  readonly crash: number;
  readonly lose_lock: number;
  readonly cut: number;
  readonly time: number;
  /** How many of the seats, from the first, make requests. */
  readonly seats: number;
  readonly limits: fc.Arbitrary<readonly LimitPlan[]>;
}

const roll = fc.nat({ max: 999 });
const proxy = fc.nat({ max: 1 });
const output = fc.nat({ max: 4 });

const limit: fc.Arbitrary<LimitPlan> = fc.record({
  principal: fc.constantFrom(...PRINCIPALS),
  meter: fc.constantFrom("usd", "requests", "tokens", "parallel"),
  window: fc.constantFrom("total", "hour", "5h", "day@Asia/Tokyo"),
  model: fc.constantFrom("", "", "m1", "m2"),
  amount: fc.nat({ max: 9 }),
  enforce: fc.constantFrom("refuse", "refuse", "refuse", "count"),
});

/** A limit that two requests of anybody meet. */
const tightLimit: fc.Arbitrary<LimitPlan> = fc.record({
  principal: fc.constantFrom("payer org_a", "user u1", "key of seat 0"),
  meter: fc.constantFrom("usd", "requests", "tokens", "parallel"),
  window: fc.constantFrom("total", "hour"),
  model: fc.constant(""),
  amount: fc.integer({ min: 1, max: 4 }),
  enforce: fc.constant("refuse"),
});

const MIXED: Weights = {
  ...{ admit: 12, settle: 9, checkpoint: 2, edit: 2, mint: 1, delete: 1, regenerate: 1, recover: 2 },
  ...{
    work: 6,
    interrupted: 1,
    crash: 1,
    lose_lock: 1,
    cut: 1,
    time: 1,
    seats: SEATS.length,
    limits: fc.array(limit, { minLength: 1, maxLength: 6 }),
  },
};

/** Courses of events that differ in what there is much of: what is rare in one is frequent in another. */
export const PROFILES = {
  mixed: MIXED,
  /** Many requests of few keys at once, at every stage of their admissions. */
  contended: {
    ...MIXED,
    settle: 6,
    edit: 1,
    mint: 0,
    delete: 0,
    regenerate: 0,
    work: 16,
    interrupted: 4,
    lose_lock: 0,
    seats: 1,
    limits: fc.array(tightLimit, { minLength: 1, maxLength: 2 }),
  },
  rotating: { ...MIXED, edit: 1, mint: 6, delete: 5, recover: 1, seats: 1 },
  /** One key that has another secret every moment, while its requests run. */
  regenerating: { ...MIXED, edit: 1, mint: 0, delete: 0, regenerate: 9, work: 12, interrupted: 3, recover: 1, seats: 1 },
  /** Proxies that live are taken for dead: what another settled at an estimate is corrected. */
  mistaken: { ...MIXED, settle: 12, checkpoint: 3, edit: 0, recover: 9, crash: 0, cut: 0, lose_lock: 7, seats: 2 },
  dying: { ...MIXED, checkpoint: 5, recover: 8, crash: 3, lose_lock: 5, cut: 4 },
} as const satisfies Readonly<Record<string, Weights>>;

function operationsOf(weights: Weights): fc.Arbitrary<Operation> {
  const seat = fc.nat({ max: weights.seats - 1 });
  const operations = {
    admit: fc.record({
      kind: fc.constant("admit" as const),
      seat,
      model: fc.constantFrom(...MODELS),
      least: fc.integer({ min: 1, max: 3 }),
      input: fc.integer({ min: 1, max: 3 }),
      output,
    }),
    checkpoint: fc.record({ kind: fc.constant("checkpoint" as const), roll, output }),
    settle: fc.record({
      kind: fc.constant("settle" as const),
      roll,
      output,
      how: fc.constantFrom("whole", "whole", "whole", "void", "failed"),
    }),
    edit: fc.record({ kind: fc.constant("edit" as const), limit, isTakenAway: fc.boolean() }),
    mint: fc.record({ kind: fc.constant("mint" as const), seat }),
    delete: fc.record({ kind: fc.constant("delete" as const), seat }),
    regenerate: fc.record({ kind: fc.constant("regenerate" as const), seat, hasGrace: fc.boolean() }),
    recover: fc.record({ kind: fc.constant("recover" as const) }),
  } as const;
  return fc.oneof(...kindsOf(operations).map((kind) => ({ weight: weights[kind], arbitrary: operations[kind] })));
}

function commandsOf(weights: Weights): fc.Arbitrary<Command> {
  const steps = fc.oneof({ weight: 1, arbitrary: fc.constant(20) }, { weight: weights.interrupted, arbitrary: fc.nat({ max: 6 }) });
  const others = {
    work: fc.record({ kind: fc.constant("work" as const), proxy, steps: fc.integer({ min: 1, max: 6 }), roll }),
    crash: fc.record({ kind: fc.constant("crash" as const), proxy }),
    lose_lock: fc.record({ kind: fc.constant("lose_lock" as const), proxy }),
    cut: fc.record({ kind: fc.constant("cut" as const), proxy, isExecuted: fc.boolean(), roll }),
    time: fc.record({ kind: fc.constant("time" as const), hours: fc.constantFrom(1, 5, 24) }),
  } as const;
  return fc.oneof(
    { weight: 12, arbitrary: fc.record({ kind: fc.constant("begin" as const), proxy, operation: operationsOf(weights), steps }) },
    ...kindsOf(others).map((kind) => ({ weight: weights[kind], arbitrary: others[kind] })),
  );
}

const kindsOf = <Kind extends string>(record: Readonly<Record<Kind, unknown>>): readonly Kind[] => Object.keys(record) as Kind[];

/** Any tree of limits, and any course of events of these profiles. */
export function plansOf(...profiles: readonly (keyof typeof PROFILES)[]): fc.Arbitrary<Plan> {
  return fc.oneof(
    ...profiles.map((profile) =>
      fc.record({
        limits: PROFILES[profile].limits,
        commands: fc.array(commandsOf(PROFILES[profile]), { minLength: 8, maxLength: 40, size: "max" }),
      }),
    ),
  );
}
