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
  /** What is not as it must be; empty where all is. */
  readonly wrong: readonly string[];
}

/** What a person is told of each refusal, whatever the client makes of it. */
const REFUSED_WITH: Readonly<Record<string, string>> = {
  expired: "The API key expired",
  revoked: "The API key is not known here",
  spent: "The budget of the API key is spent",
  unknown: "There is no model",
};
const MOST_PINGS_WAITED_FOR = 3;

/** What is wrong with any client in this situation: the rules that hold for all of them. */
export function wrongsOf(
  { situation, mark }: Experiment,
  { recorded, providerRequests, differences }: Observation,
  text: string,
  isAnswered: boolean,
): readonly string[] {
  const isRefused = situation.key !== undefined || situation.model !== undefined;
  const refusal = REFUSED_WITH[situation.key ?? situation.model ?? ""];
  return [
    ...differences,
    ...(situation.provider === undefined && !isRefused && !isAnswered ? ["has no answer"] : []),
    ...(isAnswered && !text.includes(mark) ? ["has another answer than its own"] : []),
    ...(isAnswered && !situation.canRecover ? ["says that it has an answer"] : []),
    ...(isRefused && providerRequests > 0 ? ["what was refused reached the provider"] : []),
    ...(isRefused && recorded.answers !== 1 ? [`asked ${recorded.answers} times for what is refused`] : []),
    ...(refusal !== undefined && !text.includes(refusal) ? [`is not told "${refusal}"`] : []),
    ...(situation.isSilent && recorded.pings < MOST_PINGS_WAITED_FOR ? ["had no pings"] : []),
  ];
}

/** A text without what differs from run to run: ids, times, the words of the experiment. */
export function steady(text: string, { mark, key, port }: Experiment): string {
  return text
    .replaceAll(mark, "it")
    .replaceAll(key, "sk-…")
    .replaceAll(String(port), "…")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "…")
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, "…")
    .replace(/\s+/g, " ")
    .trim();
}
