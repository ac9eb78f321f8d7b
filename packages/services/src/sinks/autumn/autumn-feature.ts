import type { AutumnFeature } from "./autumn-client.ts";

/** Why credits cannot be deducted from a feature, and what to set instead; undefined: they can. */
export function problemOfFeature(features: readonly AutumnFeature[], featureId: string): string | undefined {
  const feature = features.find(({ id }) => id === featureId);
  if (feature === undefined)
    return `There is no feature "${featureId}" in this Autumn account (it has ${namesOf(features)}). Set AUTUMN_FEATURE_ID to the id of the one that holds your credits.`;
  if (feature.archived === true)
    return `The feature "${featureId}" is archived at Autumn. Bring it back there, or set AUTUMN_FEATURE_ID to another one.`;
  const system = features.find(
    ({ id, creditSchema, archived }) =>
      id !== featureId && archived !== true && creditSchema?.some(({ meteredFeatureId }) => meteredFeatureId === featureId),
  );
  // A credit system prices the metered feature. Autumn multiplies each call by that price: at 2.5 a batch of 3 credits would take 7.5.
  if (system)
    return `The feature "${featureId}" is priced by the credit system "${system.id}": each credit would be deducted at that rate, not once. Set AUTUMN_FEATURE_ID=${system.id}.`;
  if (feature.type === "credit_system") return undefined;
  if (feature.type === "metered" && feature.consumable) return undefined;
  return `The feature "${featureId}" is of the kind ${feature.type}${feature.type === "metered" ? " that is not used up" : ""}. Credits need a metered, consumable feature or a credit system; set AUTUMN_FEATURE_ID to one.`;
}

const MOST_NAMES = 10;

function namesOf(features: readonly AutumnFeature[]): string {
  if (features.length === 0) return "none";
  const names = features
    .slice(0, MOST_NAMES)
    .map(({ id }) => id.slice(0, 60))
    .join(", ");
  return features.length > MOST_NAMES ? `${names} and ${features.length - MOST_NAMES} more` : names;
}
