import type { Command, LimitPlan } from "@proliferate/access/test/limit-model/commands";
import { Random } from "./random.ts";
import { planTraffic } from "./traffic.ts";

/**
 * What one seed does, as a list of moves. Every move can be made at any time (one that finds nothing to do does nothing),
 * so a list from which moves were taken out is a schedule too: that is how a failing one is shrunk.
 */
export interface Schedule {
  readonly seed: number;
  readonly markup: string;
  /** Whether orgs were read at Autumn before they used anything; without, they have no balance of ours at all. */
  readonly hasBalances: boolean;
  /** What Autumn is told to do when a balance is short. */
  readonly overage: "overflow" | "cap";
  /** Autumn's clock minus the database's, at the start. */
  readonly autumnSkewMs: number;
  /** What is set from the start for requests through our own proxies; undefined: there are none. */
  readonly limits: readonly LimitPlan[] | undefined;
  readonly moves: readonly Move[];
}

export type Move =
  /**
   * The worker makes so many steps, or fewer if it comes to the edge of a call: before it is made, or before its answer is read.
   * One that rests begins the job that `roll` names. `roll` also picks among what it has in flight.
   */
  | { readonly kind: "work"; readonly worker: number; readonly steps: number; readonly roll: number; readonly until?: "call" | "answer" }
  /** kill -9: open transactions are rolled back, what is in flight is never heard of again. */
  | { readonly kind: "crash"; readonly worker: number }
  /** The worker's next statement fails as on a broken connection, before or after PostgreSQL executed it. */
  | { readonly kind: "cut"; readonly worker: number; readonly isExecuted: boolean }
  /** Spend rows, committed at once or inside an open transaction (`transaction` 0..2). */
  | { readonly kind: "write"; readonly transaction: number | undefined; readonly rows: readonly PlannedRow[] }
  /** The engine corrects the amount of a row that it wrote before. */
  | { readonly kind: "reprice"; readonly roll: number; readonly spendUsd: string }
  /** A row that gives back so much of another row's amount; above 1, more than it cost. */
  | { readonly kind: "refund"; readonly roll: number; readonly share: number }
  | { readonly kind: "end_write"; readonly transaction: number; readonly isCommitted: boolean }
  | { readonly kind: "time"; readonly passMs: number }
  /** One clock is set by hand. */
  | { readonly kind: "clock"; readonly whose: "autumn" | "database"; readonly byMs: number }
  | { readonly kind: "faults"; readonly faults: readonly Fault[] }
  /** Autumn cannot be reached until it is up again. */
  | { readonly kind: "outage"; readonly isDown: boolean }
  /** What Autumn has accepted but not applied is applied, or lost. */
  | { readonly kind: "queue"; readonly isApplied: boolean }
  | { readonly kind: "customer"; readonly org: string; readonly state: CustomerState }
  /** Autumn's list of events, or its balances, lose the newest deduction of an org that the other still has. */
  | { readonly kind: "forget"; readonly org: string; readonly what: "list" | "balance" }
  /** A person makes one of the batches that rest undelivered due again. */
  | { readonly kind: "redrive"; readonly roll: number }
  /** A person gives an org, or all, another rate for requests that begin later than any that was written. */
  | { readonly kind: "rate_card"; readonly org: string | undefined; readonly markup: string }
  /** A person says on a worker's machine whose one of the rows without an org is. */
  | { readonly kind: "map"; readonly worker: number; readonly roll: number; readonly org: string }
  /** A proxy of ours admits, settles, dies, or settles what a dead one left. */
  | { readonly kind: "traffic"; readonly command: Command }
  /** After everything else: an event is deleted behind the ledger's back. */
  | { readonly kind: "lose_event"; readonly roll: number };

/** `no_balance`: none yet, or used up to exactly nothing, whereupon it is gone. */
export type CustomerState = "ready" | "missing" | "no_balance";

/** How one call goes wrong; "kept" and "released" say what becomes of its key. See `autumn-model.ts`. */
export type Fault =
  | "refused" // the connection is refused: nothing happens
  | "too_many_requests" // 429
  | "server_error" // 500 before anything happens; released
  | "error_after_apply" // applied, then 500; released, so that a repeat deducts again
  | "reset_before_claim" // broken before Autumn read it
  | "reset_before_apply" // kept, nothing applied
  | "reset_after_apply" // applied, the answer is lost; kept
  | "hang" // no answer; applied later or never, by the queue; kept
  | "accepted" // 202: applied later or never, by the queue; kept
  | "duplicate_apply" // Autumn deducts twice for one call; kept
  | "key_store_down"; // a repeat is not recognized

export interface PlannedRow {
  readonly requestId: string;
  readonly org: string | null;
  readonly spendUsd: string;
  /** The start of the request before now; negative: the writer's clock is ahead. */
  readonly ageMs: number;
}

export const ORGS = ["org_a", "org_b", "acme.io"] as const;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** Added to a seed: where chance begins that decides on requests through our own proxies. */
const TRAFFIC_CHANCE = 7_000_000_000;

/** How much oftener a kind of move comes where a schedule is to have many of it. */
const OFTENER = 10;

/** The schedule of a seed: the same one, always. Moves of the kinds `oftener` come ten times as often. */
export function createSchedule(seed: number, oftener: readonly Move["kind"][] = []): Schedule {
  const random = new Random(seed);
  const workers = random.weighted([
    [1, 1],
    [6, 2],
    [3, 3],
  ]);
  const writer = new RowWriter(random, seed);
  const moves: Move[] = [{ kind: "write", transaction: undefined, rows: writer.rows() }];
  const faultiness = random.pick([0, 0.5, 1, 2]);
  // One clock is set by hand at most once, by an hour at most: more, and the sink's memory of keys is no day long.
  const skew = random.pick(["none", "autumn_apart", "autumn_set", "database_set"]);
  const hourOrLess = (): number => random.pick([-1, 1]) * random.pick([HOUR, random.whole(1, HOUR)]);
  const length = random.whole(25, 90);
  const setAt = random.whole(0, length);
  for (let at = 0; at < length; at += 1) {
    if (at === setAt && skew.endsWith("_set"))
      moves.push({ kind: "clock", whose: skew === "autumn_set" ? "autumn" : "database", byMs: hourOrLess() });
    moves.push(...nextMoves({ random, workers, writer, faultiness, oftener }));
  }
  const traffic = trafficOf(seed, oftener.includes("traffic"));
  return {
    seed,
    limits: traffic?.limits,
    hasBalances: seed % 3 !== 0,
    overage: seed % 4 === 1 ? "cap" : "overflow",
    markup: random.pick(["3", "2.5", "1.000001", "0.37"]),
    autumnSkewMs: skew === "autumn_apart" ? hourOrLess() : 0,
    moves: traffic ? traffic.among(moves) : moves,
  };
}

/** Of chance of its own, so that the rest of a schedule is the same with and without it: in two schedules of five, or in all. */
function trafficOf(seed: number, isOften: boolean) {
  const random = new Random(seed + TRAFFIC_CHANCE);
  if (!isOften && !random.isLucky(0.4)) return undefined;
  const { limits, commands } = planTraffic(random, isOften ? 40 : random.whole(6, 14));
  const among = (moves: readonly Move[]): readonly Move[] => {
    const mixed = [...moves];
    const places = commands.map(() => random.whole(0, mixed.length)).toSorted((a, b) => b - a);
    for (const [index, command] of commands.toReversed().entries()) mixed.splice(places[index] ?? 0, 0, { kind: "traffic", command });
    return mixed;
  };
  return { limits, among };
}

interface Chance {
  readonly random: Random;
  readonly workers: number;
  readonly writer: RowWriter;
  readonly faultiness: number;
  readonly oftener: readonly Move["kind"][];
}

function nextMoves(chance: Chance): readonly Move[] {
  const worker = chance.random.whole(0, chance.workers - 1);
  return movesOf(kindOf(chance), worker, chance);
}

/** The kinds of moves, by how often they come. */
function kindOf({ random, faultiness, oftener }: Chance) {
  const kinds = [
    [60, "work"],
    [2 * faultiness, "stall"],
    [4 * faultiness, "crash"],
    [2 * faultiness, "cut"],
    [8, "write"],
    [4, "end_write"],
    [2, "reprice"],
    [1, "refund"],
    [8, "time"],
    [8 * faultiness, "faults"],
    [1 * faultiness, "outage"],
    [2, "queue"],
    [1 * faultiness, "customer"],
    [1 * faultiness, "forget"],
    [1, "redrive"],
    [0.7, "rate_card"],
    [1.5, "map"],
    [0.7, "lose_event"],
  ] as const;
  return random.weighted(kinds.map(([weight, kind]) => [oftener.some((one) => one === kind) ? weight * OFTENER : weight, kind] as const));
}

function movesOf(kind: ReturnType<typeof kindOf>, worker: number, { random, workers, writer }: Chance): readonly Move[] {
  switch (kind) {
    case "work":
      return [
        {
          kind,
          worker,
          steps: random.weighted([
            [3, 1],
            [3, 3],
            [3, 8],
            [1, 40],
          ]),
          roll: random.next(),
        },
      ];
    case "stall":
      return stall(random, worker, (worker + 1) % workers);
    case "crash":
      return [{ kind, worker }];
    case "cut":
      return [{ kind, worker, isExecuted: random.isLucky(0.6) }];
    case "write":
      return [{ kind, transaction: random.isLucky(0.5) ? random.whole(0, 2) : undefined, rows: writer.rows() }];
    case "reprice":
      return [{ kind, roll: random.next(), spendUsd: random.isLucky(0.2) ? "0" : String(random.next() * 2) }];
    case "refund":
      return [{ kind, roll: random.next(), share: random.pick([0.1, 0.5, 1, 1.5]) }];
    case "end_write":
      return [{ kind, transaction: random.whole(0, 2), isCommitted: random.isLucky(0.85) }];
    case "time":
      return [
        {
          kind,
          passMs: random.weighted([
            [4, random.whole(1, 30) * SECOND],
            [4, 61 * SECOND],
            [3, 20 * MINUTE],
            [1, 6 * HOUR],
            [1, 25 * HOUR],
          ]),
        },
      ];
    case "faults":
      return [{ kind, faults: Array.from({ length: random.whole(1, 3) }, () => random.pick(FAULTS)) }];
    case "outage":
      return random.isLucky(0.3)
        ? [
            { kind, isDown: true },
            { kind: "time", passMs: 25 * HOUR },
          ]
        : [{ kind, isDown: random.isLucky(0.4) }];
    case "queue":
      return [{ kind, isApplied: random.isLucky(0.6) }];
    case "customer":
      return [{ kind, org: random.pick(ORGS), state: random.pick(["ready", "missing", "no_balance"]) }];
    case "forget":
      return [{ kind, org: random.pick(ORGS), what: random.pick(["list", "balance"]) }];
    case "rate_card":
      return [{ kind, org: random.isLucky(0.6) ? random.pick(ORGS) : undefined, markup: random.pick(["1", "2.75", "4.000001"]) }];
    case "map":
      return [{ kind, worker, roll: random.next(), org: random.pick(ORGS) }];
    case "redrive":
    case "lose_event":
      return [{ kind, roll: random.next() }];
  }
}

/** A worker stands still at the edge of a call for longer than its lease, and another takes over. */
function stall(random: Random, worker: number, other: number): readonly Move[] {
  const edge = (): "call" | "answer" => random.pick(["call", "answer"]);
  const settling = 0.5 + random.next() / 2;
  return [
    ...(random.isLucky(0.6) ? [{ kind: "faults", faults: [random.pick(FAULTS)] } as const] : []),
    { kind: "work", worker, steps: 30, roll: settling, until: edge() },
    { kind: "time", passMs: 61 * SECOND },
    { kind: "work", worker: other, steps: 30, roll: settling, until: edge() },
    { kind: "work", worker, steps: random.whole(1, 6), roll: settling },
  ];
}

const FAULTS = [
  "refused",
  "too_many_requests",
  "server_error",
  "error_after_apply",
  "reset_before_claim",
  "reset_before_apply",
  "reset_after_apply",
  "reset_after_apply",
  "hang",
  "accepted",
  "duplicate_apply",
  "key_store_down",
] as const satisfies readonly Fault[];

/** Plans spend rows of every kind that engines write. */
class RowWriter {
  readonly #random: Random;
  readonly #prefix: string;
  #count = 0;

  constructor(random: Random, seed: number) {
    this.#random = random;
    this.#prefix = `req_${seed}`;
  }

  rows(): readonly PlannedRow[] {
    return Array.from({ length: this.#random.whole(1, 5) }, () => this.#row());
  }

  #row(): PlannedRow {
    const random = this.#random;
    // One in ten repeats an id: an engine that writes its row again.
    if (this.#count === 0 || random.isLucky(0.9)) this.#count += 1;
    return {
      requestId: random.isLucky(0.02) ? "" : `${this.#prefix}_${this.#count}`,
      org: random.isLucky(0.06) ? random.pick([null, ""]) : random.pick(ORGS),
      spendUsd: this.#spendUsd(),
      ageMs: random.weighted([
        [6, random.whole(0, 60) * SECOND],
        [2, random.whole(1, 23) * HOUR],
        [1, 30 * HOUR],
        [1, -random.whole(1, 60) * MINUTE],
      ]),
    };
  }

  /** The shortest spelling of a DOUBLE, as every writer's number becomes one. */
  #spendUsd(): string {
    const random = this.#random;
    return String(
      random.weighted([
        [6, random.next() * 2],
        [3, random.whole(0, 5_000) / 1_000],
        [2, random.next() * 1e-6],
        [1, random.next() * 1e-11],
        [1, 1_000 + random.next() * 90_000],
        [1, 0],
        [1, -random.next() * 0.01],
        [0.3, Number.POSITIVE_INFINITY],
      ]),
    );
  }
}

/** One line a move, for people. */
export function describeMoves(moves: readonly Move[]): string {
  return moves.map((move, index) => `${String(index + 1).padStart(3)}. ${JSON.stringify(move)}`).join("\n");
}
