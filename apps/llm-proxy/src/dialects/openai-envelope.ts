import type { AppError, Refusal } from "@proliferate/shared/errors";
import type { LimitLeft } from "./dialect.ts";

/** What every dialect of OpenAI's has in common: how an error is told, and what is left of a limit. */

/** The body of an error. */
export function openaiErrorBody(error: AppError, { openaiType, openaiCode = error.code }: Refusal): unknown {
  return { error: { message: `${error.message} ${error.fix}`, type: openaiType, param: error.param ?? null, code: openaiCode } };
}

/** The headers that say what is left of a limit of a meter. */
export function openaiLimitHeaders(meter: "requests" | "tokens", { amount, left, reset }: LimitLeft): Readonly<Record<string, string>> {
  return {
    [`x-ratelimit-limit-${meter}`]: amount,
    [`x-ratelimit-remaining-${meter}`]: left,
    ...(reset && { [`x-ratelimit-reset-${meter}`]: `${reset.seconds}s` }),
  };
}
