/** What does not run here, and why. Everything else that a page prints is run. */
export const LEFT_OUT: readonly { readonly command: RegExp; readonly reason: string }[] = [
  { command: /^docker compose /, reason: "needs Docker; scripts/compose.test.ts reads the file" },
  { command: /^ngrok /, reason: "needs an account of ngrok, and the internet" },
  {
    command: /^LLM_PROXY_URL=\S+ (LLM_PROXY_MASTER_KEY=\S+ )?(DATABASE_URL=\S+ )?pnpm dev$|^pnpm dev$/,
    reason: "is dev-start.sh on the compose stack; what it says without one is tested in scripts/dev-stack/environment.test.ts",
  },
  { command: /^\.\/scripts\/test\.sh/, reason: "is itself a step of .ci/run" },
  { command: /^\.\/scripts\/dev-start\.sh( --once| --json| --opencode)+$/, reason: "is itself a step of .ci/run" },
  { command: /^\.\/scripts\/dev-start\.sh$/, reason: "is what this run starts first; everything below runs on it" },
  {
    command: /^\.\/scripts\/session start .*--attach/,
    reason: "needs a terminal and the 180 MB of OpenCode; apps/cli/test/session-attach.test.ts has both",
  },
  { command: /"launcher": "modal"/, reason: "needs an account of Modal; apps/gateway/test/modal-launch.test.ts has its wire" },
  { command: /^\.\/scripts\/(bench|simulate|kill|prove)-[a-z-]+(\.sh)?\b/, reason: "a run of minutes of its own" },
  {
    command: /^node scripts\/(compare-prices|price-corpus|generate-prices|generate-docs)\.ts/,
    reason: "writes files of the repository, or needs two of them; their own tests run them",
  },
  { command: /^npm install [a-z@][^/]*$/, reason: "fetches from the npm registry, into the project of whoever reads the page" },
  { command: /^npm install PATH\/TO\//, reason: "packages/shared/test/package.test.ts installs the tarball" },
  { command: /^node apps\/[a-z-]+\/src\/main\.ts$/, reason: "is one of the processes that the stack runs" },
  {
    command: /^(psql|createdb|createuser|pg_dump|pg_restore|kubectl|helm|systemctl|git|openssl) /,
    reason: "a program of the operator's machine",
  },
];

/** Why a command is not run here; undefined where it is. */
export function reasonLeftOut(command: string): string | undefined {
  return LEFT_OUT.find((entry) => entry.command.test(command))?.reason;
}
