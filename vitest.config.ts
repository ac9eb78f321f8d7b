import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { measurePatience } from "./packages/testing/src/measured-patience.ts";

/**
 * How many times slower this machine is than the one on which the limits were written; TEST_PATIENCE overrides what was measured.
 * A limit is a bound against hanging, never a measure: no test sets one of its own but through `patience`.
 */
const patience = Number(process.env["TEST_PATIENCE"]) || measurePatience();
process.env["TEST_PATIENCE"] = String(patience);

/** Files that take longest; begun last, each would run alone at the end. */
const LONGEST = [
  "packages/services/test/simulation/simulation.test.ts",
  "scripts/dev-stack/dev-stack.test.ts",
  "packages/testing/test/modal-sandbox.test.ts",
  "apps/llm-proxy/test/limit-memory.test.ts",
];

const isLongest = ({ moduleId }: TestSpecification): boolean => LONGEST.some((name) => moduleId.endsWith(name));

/** The longest first, the others as ever. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return [...sorted.filter(isLongest), ...sorted.filter((file) => !isLongest(file))];
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    include: ["{apps,packages,scripts}/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    globalSetup: ["./vitest.global-setup.ts"],
    setupFiles: ["./vitest.setup.ts"],
    pool: "forks",
    maxWorkers: 3,
    testTimeout: 120_000 * patience,
    hookTimeout: 120_000 * patience,
    expect: { poll: { timeout: 30_000 * patience, interval: 25 } },
    // No retries: a test that passes the second time hides a race.
    retry: 0,
  },
});
