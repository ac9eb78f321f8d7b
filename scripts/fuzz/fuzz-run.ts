import { until } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import type { FuzzStack } from "./fuzz-stack.ts";
import { Choices } from "./random.ts";
import type { RawAnswer } from "./raw-client.ts";
import type { Mark } from "./request-cases.ts";

/** One case as it was played. */
export interface Played {
  /** In words. */
  readonly made: readonly string[];
  readonly answer: RawAnswer;
  /** What of the answer is not allowed; undefined: all of it is. */
  readonly wrong: string | undefined;
  /** The provider refused it by a status for which nothing is charged and which the proxy asks again for: tries of one call, with one row. */
  readonly isRepeated: boolean;
}

/** Plays one case; rejects with `hang` where no end of it came. */
type PlayCase = (choices: Choices, mark: Mark) => Promise<Played>;

export interface FuzzOptions {
  /** How many cases, from the number `first` on. */
  readonly count: number;
  readonly first: number;
  readonly seed: number;
  readonly atOnce: number;
  /** Told after each batch. */
  readonly onProgress: (done: number, result: FuzzResult) => void;
}

interface Failure {
  readonly case: number;
  readonly why: string;
  readonly made: readonly string[];
}

export interface FuzzResult {
  readonly seed: number;
  readonly cases: number;
  /** By status; 0 is a connection that was closed without an answer. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Calls that reached the provider and are billed, and closed rows of these cases. */
  readonly reachedProvider: number;
  readonly rows: number;
  readonly failures: readonly Failure[];
}

/** So many cases are played before it is looked at what they left. */
const BATCH = 1_000;
/** More are not listed: whatever is wrong is wrong in the first of them. */
const MOST_FAILURES = 20;

/**
 * Plays the cases on the stack, and looks after each batch at what they left: the process lives, nothing is in flight or reserved, and each call
 * that reached the provider has one closed row with amounts that can be. Ends with the first batch that has {@link MOST_FAILURES} failures.
 */
export async function fuzz(stack: FuzzStack, options: FuzzOptions, play: PlayCase): Promise<FuzzResult> {
  const { count, first, seed, onProgress } = options;
  const statuses: Record<string, number> = {};
  const failures: Failure[] = [];
  let result: FuzzResult = { seed, cases: 0, statuses, reachedProvider: 0, rows: 0, failures };
  while (result.cases < count && failures.length < MOST_FAILURES) {
    const numbers = Array.from({ length: Math.min(BATCH, count - result.cases) }, (_, index) => first + result.cases + index);
    const made = await playBatch(stack, options, numbers, { play, statuses, failures });
    const left = await lookAt(stack, options, numbers, made, failures);
    result = {
      ...result,
      cases: result.cases + numbers.length,
      reachedProvider: result.reachedProvider + left.reachedProvider,
      rows: result.rows + left.rows,
    };
    onProgress(result.cases, result);
    if (stack.proxy.child.exitCode !== null || stack.proxy.child.signalCode !== null) break;
  }
  return result;
}

const nameOf = (seed: number, number: number): string => `fuzz-${seed}-${number}-`;

type Made = ReadonlyMap<number, Pick<Played, "made" | "isRepeated">>;

async function playBatch(
  { keys, proxy }: FuzzStack,
  { seed, atOnce }: FuzzOptions,
  numbers: readonly number[],
  { play, statuses, failures }: { readonly play: PlayCase; readonly statuses: Record<string, number>; readonly failures: Failure[] },
): Promise<Made> {
  const made = new Map<number, Pick<Played, "made" | "isRepeated">>();
  const waiting = [...numbers];
  const work = async (): Promise<void> => {
    for (let number = waiting.shift(); number !== undefined; number = waiting.shift()) {
      const choices = new Choices(seed, number);
      try {
        const played = await play(choices, { name: nameOf(seed, number), key: choices.of(keys) });
        made.set(number, played);
        statuses[played.answer.status] = (statuses[played.answer.status] ?? 0) + 1;
        if (played.wrong !== undefined) failures.push({ case: number, why: played.wrong, made: played.made });
      } catch (error) {
        failures.push({ case: number, why: (error as Error).message, made: [] });
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  const alive = await fetch(`${proxy.url}/health/liveliness`).then(
    ({ status }) => status,
    () => 0,
  );
  if (alive !== 200)
    failures.push({
      case: numbers[0] ?? 0,
      why: `the process does not live any more, after these or one of the ${numbers.length - 1} cases behind it: ${proxy.log().slice(-2_000)}`,
      made: [],
    });
  return made;
}

interface Left {
  readonly reachedProvider: number;
  readonly rows: number;
}

async function lookAt(
  { db, provider }: FuzzStack,
  { seed }: FuzzOptions,
  numbers: readonly number[],
  made: Made,
  failures: Failure[],
): Promise<Left> {
  const fail = (number: number, why: string): void => void failures.push({ case: number, why, made: made.get(number)?.made ?? [] });
  const numberOf = (text: string): number => Number(new RegExp(`fuzz-${seed}-(\\d+)-`).exec(text)?.[1] ?? -1);
  await until(
    async () => (await sql`select from request_attempts union all select from limit_counters where reserved <> 0`.execute(db)).rows.length,
    (left) => left === 0,
  ).catch(() => undefined);
  const open = await sql<{ end_user: string | null }>`select end_user from request_attempts`.execute(db);
  for (const { end_user: name } of open.rows) fail(numberOf(name ?? ""), "is in flight for ever");
  const reserved = await sql<{ counter: string }>`
    select concat_ws(' ', principal_kind, meter, limit_window, reserved) as counter from limit_counters where reserved <> 0`.execute(db);
  for (const { counter } of reserved.rows)
    fail(numbers[0] ?? 0, `these, or one of the ${numbers.length - 1} cases behind it, left reserved: ${counter}`);

  const reached = new Map<number, number>();
  for (const { path, route } of provider.requests) {
    if (route === "count_tokens" || route === "models") continue;
    reached.set(numberOf(path), (reached.get(numberOf(path)) ?? 0) + 1);
  }
  const { rows } = await sql<{ name: string; count: number; isGood: boolean }>`
    select end_user as name, count(*)::integer as count,
           bool_and(spend >= 0 and spend < 'Infinity' and prompt_tokens >= 0 and completion_tokens >= 0 and status in ('success', 'failure')) as "isGood"
      from "LiteLLM_SpendLogs" where end_user = any(${numbers.map((number) => nameOf(seed, number))}::text[]) group by end_user`.execute(
    db,
  );
  const written = new Map(rows.map((row) => [numberOf(row.name), row]));
  let calls = 0;
  for (const number of numbers) {
    const [hits, row] = [reached.get(number) ?? 0, written.get(number)];
    calls += hits;
    if ((made.get(number)?.isRepeated ? Math.min(hits, 1) : hits) > (row?.count ?? 0))
      fail(number, `reached the provider ${hits} times, and has ${row?.count ?? 0} rows`);
    if ((row?.count ?? 0) > Math.max(1, hits)) fail(number, `has ${row?.count} rows, and reached the provider ${hits} times`);
    if (row && !row.isGood) fail(number, "has a row with an amount that cannot be");
  }
  return { reachedProvider: calls, rows: rows.reduce((sum, { count }) => sum + count, 0) };
}
