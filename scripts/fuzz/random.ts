import { randomOf } from "@proliferate/testing/test-random";

/** The choices of one case: the same for the same seed and number, whatever ran before it. */
export class Choices {
  readonly #next: () => number;

  constructor(seed: number, index: number) {
    this.#next = randomOf((Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0);
  }

  /** A whole number from 0 up to, and without, `end`. */
  below(end: number): number {
    return Math.floor(this.#next() * end);
  }

  /** True so many times in a hundred. */
  percent(share: number): boolean {
    return this.#next() * 100 < share;
  }

  /** One of them; throws where there is none. */
  of<Value>(values: readonly Value[]): Value {
    if (values.length === 0) throw new RangeError("There is nothing to choose from.");
    return values[this.below(values.length)] as Value;
  }

  /** So many bytes of any value. */
  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}
