import { LOOK_EVERY_MS } from "../src/data-plane/pings.ts";

/** Loaded before a process (`--import=…/hurried-pings.ts`): what waits as long as the looks for silent streams waits for a moment. */
const rightTimeout = globalThis.setTimeout;
const HURRIED_MS = 10;

globalThis.setTimeout = Object.assign(
  (act: (...given: unknown[]) => void, ms?: number, ...given: unknown[]) =>
    rightTimeout(act, ms === LOOK_EVERY_MS ? HURRIED_MS : ms, ...given),
  rightTimeout,
) as typeof setTimeout;
