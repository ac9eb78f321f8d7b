import type { Experiment, Observation } from "./laboratory.ts";
import type { Situation } from "./situations.ts";

/** How a client ended in a situation. */
export interface Outcome {
  readonly situation: Situation;
  /** What it belongs to, such as the library of which it is one version. */
  readonly family: string;
  readonly client: string;
  /** Requests for an answer that it made. */
  readonly asked: number;
  /** It has the answer. */
  readonly isAnswered: boolean;
  /** What its user sees, without what differs from run to run. */
  readonly told: string;
  /** It asks as often in each run. */
  readonly isSteady: boolean;
  /** It had not ended when its time was over. */
  readonly goesOn?: boolean;
  /** What is not as it must be; empty where all is. */
  readonly wrong: readonly string[];
}

/** What a person is told of each refusal, whatever the client makes of it. */
export const REFUSED_WITH: Readonly<Record<string, string>> = {
  expired: "The API key expired",
  revoked: "The API key is not known here",
  spent: "The budget of the API key is spent",
  of_other_models: "may not use",
  unknown: "There is no model",
};
const MOST_PINGS_WAITED_FOR = 3;

/** What a client does otherwise than most, and may. */
export interface Allowance {
  /** How often it asks at most for what is refused. Default 1. */
  readonly requests?: number;
  /** Its own words for what is refused. Default: ours are shown. */
  readonly says?: string;
  /** Its rows name the session that it says. */
  readonly namesSession?: boolean;
  /** It is refused in every situation, with what it `says`. */
  readonly isRefused?: boolean;
  /** It tries on for longer than we look. */
  readonly goesOn?: true;
}

/** What is wrong with any client in this situation: the rules that hold for all of them. */
export function wrongsOf(
  { situation }: Experiment,
  { recorded, providerRequests, rowsWithoutSession, differences }: Observation,
  { text, isAnswered }: { readonly text: string; readonly isAnswered: boolean },
  { requests = 1, says, isRefused: isAlwaysRefused = false, namesSession = false }: Allowance = {},
): readonly string[] {
  const isRefused = isAlwaysRefused || situation.key !== undefined || situation.model !== undefined;
  const refusal = says ?? REFUSED_WITH[situation.key ?? situation.model ?? ""];
  return [
    ...differences,
    ...(situation.provider === undefined && !isRefused && !isAnswered ? ["has no answer"] : []),
    ...(isAnswered && !situation.canRecover ? ["says that it has an answer"] : []),
    ...(isRefused && providerRequests > 0 ? ["what was refused reached the provider"] : []),
    ...(isRefused && (recorded.answers === 0 || recorded.answers > requests)
      ? [`asked ${recorded.answers} times for what is refused`]
      : []),
    ...(refusal !== undefined && !text.replace(/\s+/g, " ").includes(refusal) ? [`is not told "${refusal}"`] : []),
    ...(namesSession && rowsWithoutSession > 0 ? [`${rowsWithoutSession} of its rows name no session`] : []),
    ...(situation.isSilent && recorded.pings < MOST_PINGS_WAITED_FOR ? ["had no pings"] : []),
  ];
}

/** A text without what differs from run to run, and from client to client: ids, times, the words of the experiment, the model. */
export function steady(text: string, model: string): string {
  return text
    .replaceAll(model, "…")
    .replace(/experiment-\d+-of-the-laboratory/g, "it")
    .replace(/\bsk-[\w-]{20,}/g, "sk-…")
    .replace(/127\.0\.0\.1:\d+/g, "…")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "…")
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, "…")
    .replace(/\s+/g, " ")
    .trim();
}
