/** Virtual time of one seed: what `billing_now()` returns. It moves only when the schedule says so. */
export class VirtualClock {
  nowMs = Date.UTC(2026, 6, 1, 12);

  pass(ms: number): void {
    this.nowMs += ms;
  }

  /** For PostgreSQL. */
  timestamp(): string {
    return new Date(this.nowMs).toISOString();
  }
}
