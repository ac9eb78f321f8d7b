import { compareDecimals, type DecimalText } from "@proliferate/shared/money";

/** What a request can take, as far as meters ask: known before it is sent. */
export interface MeteredRequest {
  readonly minimumUsd: DecimalText;
  readonly worstCaseUsd: DecimalText;
  readonly estimatedInputTokens: number;
  /** Over all answers that are asked for; null where nobody can say. */
  readonly maxOutputTokens: number | null;
  /** How many of other things the body has, by the name under which its reader counts them. */
  readonly counts?: Readonly<Record<string, number>>;
}

/** What a request took. What nobody measures afterwards took as much as was reserved. */
export interface MeteredOutcome {
  readonly costUsd: DecimalText;
  readonly totalTokens: number;
  /** Nothing came of it, and nothing was charged: refused, or never sent. */
  readonly isVoid: boolean;
}

/**
 * One thing that limits count. To add one: write it here, and have the body's reader count what it asks for (`counts`). Nothing else
 * knows meters by name.
 */
interface Meter {
  /** In words, with its unit, as a caller is told: "tokens". */
  readonly unit: string;
  /** Whether a request may wait for what others have reserved: what comes back when they end. */
  readonly comesBack: boolean;
  /** What a request takes at least: it starts only where so much is left. */
  least(request: MeteredRequest): DecimalText;
  /** What a request can take at most: so much is reserved until it ends. */
  most(request: MeteredRequest): DecimalText;
  /** What it took in the end: an exact decimal, never less than 0; undefined: as much as was reserved. */
  took(outcome: MeteredOutcome): DecimalText | undefined;
}

/** All meters, by the name that a limit has. */
export const METERS: Readonly<Record<string, Meter>> = {
  /** What requests cost, in USD, as spend rows say. */
  usd: {
    unit: "USD",
    comesBack: true,
    least: ({ minimumUsd }) => minimumUsd,
    most: ({ worstCaseUsd }) => worstCaseUsd,
    took: ({ costUsd }) => costUsd,
  },
  /** Requests; one that nothing came of does not count. */
  requests: { unit: "requests", comesBack: false, least: () => "1", most: () => "1", took: ({ isVoid }) => (isVoid ? "0" : "1") },
  /** Tokens of input and output, cached ones included. */
  tokens: {
    unit: "tokens",
    comesBack: true,
    least: ({ estimatedInputTokens }) => String(estimatedInputTokens),
    most: ({ estimatedInputTokens, maxOutputTokens }) => String(estimatedInputTokens + (maxOutputTokens ?? 0)),
    took: ({ totalTokens }) => String(totalTokens),
  },
  /** Requests that run at one time: what is reserved is all that counts. */
  parallel: { unit: "requests at a time", comesBack: false, least: () => "1", most: () => "1", took: () => "0" },
};

/** What a request takes of each meter. */
export type Amounts = ReadonlyMap<string, { readonly least: DecimalText; readonly most: DecimalText }>;

/** What a request can take of every meter. `most` is never below `least`. */
export function amountsOf(request: MeteredRequest): Amounts {
  return new Map(
    Object.entries(METERS).map(([name, meter]) => {
      const [least, most] = [meter.least(request), meter.most(request)];
      return [name, { least, most: compareDecimals(most, least) < 0 ? least : most }];
    }),
  );
}

/** What a request took of every meter. */
export function amountsTaken(outcome: MeteredOutcome): ReadonlyMap<string, DecimalText> {
  return new Map(
    Object.entries(METERS).flatMap(([name, meter]) => {
      const amount = meter.took(outcome);
      return amount === undefined ? [] : [[name, amount] as const];
    }),
  );
}
