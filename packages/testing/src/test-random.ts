/**
 * Random numbers from 0 up to 1 for a test that plays something else in every run, said with the words that play the same choices
 * again: `PROPERTY_SEED=123`. What the machine does meanwhile is not repeated, only what was chosen.
 */
export function seededRandom(what: string): () => number {
  const asked = Number(process.env["PROPERTY_SEED"] || Number.NaN);
  const seed = Number.isSafeInteger(asked) ? asked : Math.floor(Math.random() * 2 ** 31);
  console.info(`${what}: PROPERTY_SEED=${seed} makes the same choices`);
  return randomOf(seed);
}

/** Numbers from 0 up to 1, the same for the same seed everywhere. Tommy Ettinger's generator (mulberry32): 32 bits of state, enough for choices. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
