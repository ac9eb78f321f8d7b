import fc from "fast-check";

/**
 * Property tests play the same values in every run, so that a suite that was green stays green until the code changes.
 * `PROPERTY_SEED=random` plays others (the failing seed is in the message), a number plays one run again.
 */
const DEFAULT_SEED = 20_261_127;

const asked = process.env["PROPERTY_SEED"];
if (asked !== "random") {
  const seed = asked === undefined || asked === "" ? DEFAULT_SEED : Number(asked);
  if (!Number.isSafeInteger(seed)) throw new Error(`PROPERTY_SEED must be a whole number or "random", not ${JSON.stringify(asked)}.`);
  fc.configureGlobal({ seed });
}
