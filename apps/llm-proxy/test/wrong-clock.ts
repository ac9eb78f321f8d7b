/** Loaded before a process (`--import=…/wrong-clock.ts?7200000`): its clock is so many milliseconds ahead. The monotonic clock is right. */
const RightDate = Date;
const offsetMs = Number(new URL(import.meta.url).search.slice(1));

globalThis.Date = new Proxy(RightDate, {
  construct: (_, given: []) => (given.length === 0 ? new RightDate(RightDate.now() + offsetMs) : new RightDate(...given)),
  apply: () => new RightDate(RightDate.now() + offsetMs).toString(),
  get: (_, name) => (name === "now" ? () => RightDate.now() + offsetMs : (Reflect.get(RightDate, name) as unknown)),
});
