/** A plan that a customer subscribes to, as far as its answer tells. */
export interface EmulatedSubscription {
  readonly planId: string;
  /** Milliseconds since 1970; null: no trial. */
  readonly trialEndsAtMs?: number | null;
  /** Default `active`. */
  readonly status?: "active" | "scheduled";
  readonly isAddOn?: boolean;
}

export function wireSubscription({ planId, trialEndsAtMs = null, status = "active", isAddOn = false }: EmulatedSubscription): unknown {
  return {
    id: `sub_${planId}`,
    plan_id: planId,
    auto_enable: false,
    add_on: isAddOn,
    status,
    past_due: false,
    canceled_at: null,
    expires_at: null,
    trial_ends_at: trialEndsAtMs,
    started_at: 0,
    current_period_start: null,
    current_period_end: null,
    quantity: 1,
    scope: "customer",
  };
}
