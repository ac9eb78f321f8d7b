import type { AppError, Refusal } from "@proliferate/shared/errors";
import type { LimitLeft } from "./dialect.ts";
import { type ModelListing, modelRemarks } from "./model-listing.ts";

/** What every dialect of OpenAI's has in common: how an error is told, what is left of a limit, and the list of models. */

/** With the fields that Anthropic's clients read as well: some of them do not say that they are. */
export const OPENAI_MODELS: ModelListing = {
  isOwnOnly: false,
  view: (model) => ({
    id: model.id,
    object: "model",
    created: model.createdAt.getTime() / 1_000,
    owned_by: model.provider,
    type: "model",
    display_name: model.id,
    created_at: model.createdAt.toISOString(),
    ...modelRemarks(model),
  }),
  list: (page) => ({ object: "list", ...page }),
};

/** A comment: OpenAI has no event for it, and would its clients be sent an unknown one, some would take it for a chunk. */
export const OPENAI_PING = ": ping\n\n";

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
