import type { DecimalText } from "@proliferate/shared/money";

/**
 * What the refresh of budgets needs of the LLM proxy. Each call is idempotent, answers `gone` for a key that does not exist
 * any more, and throws an AppError with a `proxy_*` code.
 */
export interface KeyControl {
  /** Sets the total that the key may spend, USD of provider cost, its past included. In force for the next request. */
  setBudget(keyHash: string, maxBudgetUsd: DecimalText): Promise<"done" | "gone">;
  /** Refuses or accepts its requests from now on. */
  setBlocked(keyHash: string, blocked: boolean): Promise<"done" | "gone">;
}
