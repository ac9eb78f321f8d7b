import type { WireAnswer } from "./wire.ts";

/** What an account says of one of its features beside its id. */
export interface EmulatedFeature {
  /** Default `metered`. */
  readonly type?: "metered" | "credit_system" | "ai_credit_system" | "boolean";
  /** Default true. */
  readonly consumable?: boolean;
  readonly archived?: boolean;
  /** Of a credit system: credits that a unit of each metered feature costs. */
  readonly creditCosts?: Readonly<Record<string, number>>;
}

/** The answer to `features.list`. */
export function listFeatures(ids: Iterable<string>, kinds: Readonly<Record<string, EmulatedFeature>>): WireAnswer {
  return { status: 200, body: { list: [...ids].map((id) => wireFeature(id, kinds[id] ?? {})) } };
}

function wireFeature(id: string, { type = "metered", consumable = true, archived = false, creditCosts }: EmulatedFeature): unknown {
  const schema =
    creditCosts && Object.entries(creditCosts).map(([featureId, cost]) => ({ metered_feature_id: featureId, credit_cost: cost }));
  return { id, name: id, type, consumable, archived, event_names: [], ...(schema && { credit_schema: schema }) };
}
