import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // `TEST_PROOFS=1`: the long proofs, too, which are not part of every run.
    include: ["{apps,packages,scripts}/**/*.test.ts", ...(process.env["TEST_PROOFS"] ? ["{apps,packages,scripts}/**/*.proof.ts"] : [])],
    exclude: ["**/node_modules/**", "**/dist/**"],
    globalSetup: ["./vitest.global-setup.ts"],
    pool: "forks",
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // No retries: a test that passes the second time hides a race.
    retry: 0,
  },
});
