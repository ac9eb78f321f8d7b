import { type CounterName, type Facts, nameOf, startOf, unitsOf } from "./facts.ts";
import { add, type Asked, type Caller, type Counters, hasRoom, isBudget, limitsOf, type Setting, settingOf } from "./rules.ts";

/** An admission under way: whatever was so at some moment of it, it may have seen. */
interface Admission {
  readonly attemptId: string;
  readonly caller: Caller;
  readonly asked: Asked;
  readonly settings: Setting[];
  readonly states: Counters[];
}

/** What a request holds, from its admission to its settlement, and what it came to. */
interface Request {
  readonly admission: Admission;
  readonly holds: readonly (CounterName & { readonly amount: bigint })[];
  /** Of each meter, by what its spend rows say. */
  took: Readonly<Record<string, bigint>> | undefined;
  /** By how much corrections brought it above what it was first settled at. */
  readonly corrected: Record<string, bigint>;
}

type Event = { readonly kind: "admitted" | "settled" | "corrected"; readonly request: Request; readonly took: Request["took"] };

const REFUSALS = new Set(["budget_exceeded", "budget_reserved", "limit_exceeded", "limit_reserved", "rate_limited"]);

/**
 * The reference: it is shown what stands in the database after each step, and says what cannot be. It knows what was admitted and settled from the
 * requests on record and the spend rows alone, and works out from these what every counter must say and whether there was room.
 */
export class LimitModel {
  readonly #requests = new Map<string, Request>();
  readonly #open = new Map<string, Admission>();
  /** Their last step was made, and what it left is not looked at yet. */
  readonly #ended = new Set<string>();
  readonly #refused: { readonly admission: Admission; readonly code: string }[] = [];
  /** Of each limit that was always set and always refused: the most that it ever allowed; undefined where it was not. */
  readonly #mostAllowed = new Map<string, bigint | undefined>();
  readonly #peaks = new Map<string, bigint>();
  #setting: Setting;
  #counters: Counters = new Map();

  constructor(facts: Facts, nowMs: number) {
    this.#setting = settingOf(facts, nowMs);
    this.#noteLimits(true);
  }

  /** Before its first statement. */
  begin(attemptId: string, caller: Caller, asked: Asked): Admission {
    const admission = { attemptId, caller, asked, settings: [this.#setting], states: [this.#counters] };
    this.#open.set(attemptId, admission);
    return admission;
  }

  /** It was admitted, or nobody will ever hear of it: which of these, the database says. */
  end({ attemptId }: Admission): void {
    this.#ended.add(attemptId);
  }

  refuse(admission: Admission, code: string): void {
    this.#open.delete(admission.attemptId);
    this.#refused.push({ admission, code });
  }

  /** Whether something ended that is not looked at yet. */
  get isWaiting(): boolean {
    return this.#ended.size + this.#refused.length > 0;
  }

  /** After each step. What is not as it must be, or undefined. */
  observe(facts: Facts, nowMs: number): string | undefined {
    this.#setting = settingOf(facts, nowMs);
    this.#noteLimits(false);
    const concerned = [...this.#open.values(), ...this.#refused.map(({ admission }) => admission)];
    for (const { settings } of concerned) if (settings.at(-1) !== this.#setting) settings.push(this.#setting);
    const events = this.#eventsOf(facts);
    if (typeof events === "string") return events;
    for (const id of this.#ended) this.#open.delete(id);
    this.#ended.clear();
    const course = ordersOf(events)
      .map((order) => this.#follow(order))
      .find((states) => states !== undefined);
    if (!course) return `admitted without room: ${events.map(({ kind, request }) => `${request.admission.attemptId} ${kind}`).join(", ")}`;
    this.#counters = course.at(-1) ?? this.#counters;
    for (const { states } of concerned) states.push(...course);
    for (const event of events) if (event.kind !== "admitted") event.request.took = event.took;
    return this.#judgeRefusals() ?? this.#compare(facts);
  }

  /** After everything is settled. */
  findLeft(): string | undefined {
    for (const [name, { reserved }] of this.#counters) if (reserved !== 0n) return `${reserved} are left reserved of ${name}`;
    for (const [id, { took }] of this.#requests) if (!took) return `${id} was never settled`;
    return this.#findOver();
  }

  #eventsOf(facts: Facts): readonly Event[] | string {
    const events: Event[] = [];
    const onRecord = new Set(facts.attempts.map(({ attempt_id: id }) => id));
    for (const attempt of facts.attempts) {
      if (this.#requests.has(attempt.attempt_id)) continue;
      const admission = this.#open.get(attempt.attempt_id);
      if (!admission) return `${attempt.attempt_id} is on record, and nobody asked for it`;
      const request = { admission, holds: holdsOf(attempt, admission.caller), took: undefined, corrected: {} };
      this.#requests.set(attempt.attempt_id, request);
      events.push({ kind: "admitted", request, took: undefined });
    }
    const rows = new Map(facts.rows.map((row) => [row.request_id, row]));
    for (const [id, request] of this.#requests) {
      const [row, correction] = [rows.get(id), rows.get(`${id}:correction`)];
      if (onRecord.has(id) === (row !== undefined)) return `${id} is ${row ? "both" : "neither"} on record and settled`;
      if (!row) continue;
      const took = tookOf(row, correction);
      if (!request.took) events.push({ kind: "settled", request, took });
      else if (Object.entries(took).some(([meter, amount]) => amount !== request.took?.[meter]))
        events.push({ kind: "corrected", request, took });
    }
    return events;
  }

  /** The counters after each of the events in this order; undefined where one was admitted without room. */
  #follow(order: readonly Event[]): readonly Counters[] | undefined {
    const states = [this.#counters];
    for (const { kind, request, took } of order) {
      const counters = new Map(states.at(-1) ?? []);
      const { admission, holds } = request;
      if (kind === "admitted" && !isAdmissible(admission, holds, counters)) return undefined;
      for (const hold of holds) {
        const [now, before] = [took?.[hold.meter] ?? 0n, request.took?.[hold.meter] ?? 0n];
        if (kind === "admitted") add(counters, nameOf(hold), { reserved: hold.amount });
        else if (kind === "settled") add(counters, nameOf(hold), { used: now, reserved: -hold.amount });
        else add(counters, nameOf(hold), { used: now - before });
        if (kind === "corrected" && now > before) request.corrected[hold.meter] = now - before;
      }
      states.push(counters);
    }
    return states;
  }

  #judgeRefusals(): string | undefined {
    for (const { admission, code } of this.#refused.splice(0)) {
      const { settings, states, caller, asked } = admission;
      const isDead = settings.some(({ usable }) => !usable.has(caller.shownHash));
      const wasFull = settings.some((setting) => states.some((counters) => !hasRoom(setting, caller, asked, counters)));
      if (code === "invalid_api_key" ? !isDead : !(REFUSALS.has(code) && wasFull))
        return `${admission.attemptId} was refused (${code}) while there was room`;
    }
    return undefined;
  }

  /** Every counter says what follows from the requests and the rows. Of a key that is gone only what is reserved matters. */
  #compare(facts: Facts): string | undefined {
    const stored = new Map(
      facts.counters.map((counter) => [
        nameOf({ ...counter, start: startOf(counter.start) }),
        { used: unitsOf(counter.meter, counter.used), reserved: unitsOf(counter.meter, counter.reserved) },
      ]),
    );
    for (const name of new Set([...stored.keys(), ...this.#counters.keys()])) {
      const [is, should] = [stored.get(name) ?? NOTHING, this.#counters.get(name) ?? NOTHING];
      const [kind, id = ""] = name.split("|");
      const isGone = kind === "key" && !this.#setting.liveKeys.has(id);
      if (is.reserved !== should.reserved || (is.used !== should.used && !isGone))
        return `${name} says ${is.used} used and ${is.reserved} reserved, and it is ${should.used} and ${should.reserved}`;
      this.#peaks.set(name, max(this.#peaks.get(name) ?? 0n, should.reserved));
    }
    // Both are moved by one statement, whatever hash the key has by then.
    for (const { id, spend_usd: spend } of facts.keys) {
      const used = this.#counters.get(nameOf({ kind: "key", id, meter: "usd", window: "total", model: "", start: null }))?.used ?? 0n;
      if (unitsOf("usd", spend) !== used) return `LiteLLM's column of the key ${id} says ${spend}, and it has spent ${used}`;
    }
    return undefined;
  }

  #noteLimits(isFirst: boolean): void {
    const now = new Map(
      this.#setting.limits.map((limit) => [baseOf(limit), limit.isRefusing && limit.amount !== null ? limit.amount : undefined]),
    );
    for (const [base, amount] of now) {
      // A key that was made later has its limits from its first moment; all others were there from the start, or not always.
      const known = this.#mostAllowed.has(base) ? this.#mostAllowed.get(base) : isFirst || base.startsWith("key|") ? amount : undefined;
      this.#mostAllowed.set(base, amount === undefined || known === undefined ? undefined : max(known, amount));
    }
    for (const base of this.#mostAllowed.keys()) {
      const [kind, id = ""] = base.split("|");
      if (!now.has(base) && !(kind === "key" && !this.#setting.liveKeys.has(id))) this.#mostAllowed.set(base, undefined);
    }
  }

  /** By the spend rows alone: no window of a limit took more than it allowed by more than one request, and none at all where each takes one. */
  #findOver(): string | undefined {
    const taken = new Map<string, { readonly hold: CounterName; sum: bigint; largest: bigint; corrected: bigint }>();
    for (const { holds, took, corrected } of this.#requests.values()) {
      for (const hold of holds) {
        const sum = taken.get(nameOf(hold)) ?? { hold, sum: 0n, largest: 0n, corrected: 0n };
        taken.set(nameOf(hold), sum);
        const amount = took?.[hold.meter] ?? 0n;
        sum.sum += amount;
        sum.largest = max(sum.largest, amount);
        sum.corrected += corrected[hold.meter] ?? 0n;
      }
    }
    for (const [name, { hold, sum, largest, corrected }] of taken) {
      const most = this.#mostAllowed.get(baseOf(hold));
      if (most === undefined) continue;
      const isExact = hold.meter === "requests" || hold.meter === "parallel";
      const used = hold.meter === "parallel" ? (this.#peaks.get(name) ?? 0n) : sum;
      if (used > most + (isExact ? 0n : largest) + corrected) return `${name} allowed ${most} at most, and ${used} were taken`;
    }
    return undefined;
  }
}

const NOTHING = { used: 0n, reserved: 0n };
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const baseOf = ({ kind, id, meter, window, model }: Omit<CounterName, "start">): string => [kind, id, meter, window, model].join("|");

/** It holds the most that it can take in each limit of its path, as something that was so while it ran has them, and there was room just before. */
function isAdmissible({ caller, asked, settings }: Admission, holds: Request["holds"], counters: Counters): boolean {
  const held = holds.map((hold) => `${nameOf(hold)}=${hold.amount}`).toSorted();
  return settings.some((setting) => {
    const limits = limitsOf(setting, caller, asked.model);
    const should = limits.map((limit) => `${nameOf(limit)}=${asked.most[limit.meter]}`).toSorted();
    return setting.usable.has(caller.shownHash) && held.join() === should.join() && hasRoom(setting, caller, asked, counters);
  });
}

/** `reserved_usd` stands in the budgets of the key and its team. */
function holdsOf(attempt: Facts["attempts"][number], { keyHash, teamId }: Caller): Request["holds"] {
  const budget = { meter: "usd", window: "total", model: "", start: null, amount: unitsOf("usd", attempt.reserved_usd) };
  const beside = (attempt.reservations ?? []).map((held) => ({
    ...held,
    start: startOf(held.start),
    amount: unitsOf(held.meter, held.amount),
  }));
  return [
    { ...budget, kind: "key", id: keyHash },
    ...(teamId === null ? [] : [{ ...budget, kind: "team", id: teamId }]),
    ...beside.filter((held) => !isBudget(held)),
  ];
}

/** A request that failed and cost nothing came to nothing; what runs at one time is used by nobody. */
function tookOf(row: Facts["rows"][number], correction: Facts["rows"][number] | undefined): Readonly<Record<string, bigint>> {
  const usd = unitsOf("usd", row.spend) + (correction ? unitsOf("usd", correction.spend) : 0n);
  const isVoid = (correction ?? row).status === "failure" && usd === 0n;
  return { usd, tokens: BigInt(row.tokens + (correction?.tokens ?? 0)), requests: isVoid ? 0n : 1n, parallel: 0n };
}

/** Several things can come of one step: who waited for a lock goes on. In which order, nobody saw. */
function ordersOf(events: readonly Event[]): readonly (readonly Event[])[] {
  if (events.length <= 1) return [events];
  return events.flatMap((first) => ordersOf(events.filter((event) => event !== first)).map((rest) => [first, ...rest]));
}
