import { AppError } from "@proliferate/shared/errors";

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A whole number of zero or more. Throws `invalid_request` naming the option. */
export function parseWhole(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new AppError("invalid_request", `${option} "${text}" is no whole number of zero or more.`, { param: option });
}

/** How many are shown, 1 to 1000. Throws `invalid_request` naming the option. */
export function parseLimit(option: string, text: string): number {
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= 1_000) return limit;
  throw new AppError("invalid_request", `${option} "${text}" is no whole number from 1 to 1000.`, { param: option });
}

/** `30s`, `5m`, `1h`, or 0. In milliseconds. Throws `invalid_request` naming the option; `5` without a unit could mean anything. */
export function parseDurationMs(option: string, text: string): number {
  if (text === "0") return 0;
  const [, count = "", unit = ""] = /^(\d{1,6})(ms|s|m|h|d)$/.exec(text) ?? [];
  const unitMs = UNIT_MS[unit];
  if (unitMs !== undefined) return Number(count) * unitMs;
  throw new AppError("invalid_request", `${option} "${text}" is no time such as 30s, 5m or 1h.`, { param: option });
}

/** One of a few words. Throws `invalid_request` that names them. */
export function parseChoice<Choice extends string>(option: string, text: string, choices: readonly Choice[]): Choice {
  const choice = choices.find((one) => one === text);
  if (choice !== undefined) return choice;
  throw new AppError("invalid_request", `${option} "${text}" is none of ${choices.join(", ")}.`, { param: option });
}
