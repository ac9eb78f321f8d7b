import { mkdtemp, rm, chmod } from "node:fs/promises";
import { join } from "node:path";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { createTemplate, onServer } from "@proliferate/db/test-database";
import type { TestProject } from "vitest/node";

/**
 * One real PostgreSQL for the whole run: the embedded one, or the server that TEST_DATABASE_URL names (its user must be
 * allowed to create databases). Every test file works in databases of its own.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const external = process.env["TEST_DATABASE_URL"];
  const folder = await mkdtemp("/var/tmp/llm-gateway-test-");
  await chmod(folder, 0o755);
  const embedded = external
    ? undefined
    : await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false, maxConnections: 300 });
  const server = external ?? embedded?.connectionString ?? "";
  const template = await createTemplate(server);
  project.provide("postgresServer", server);
  project.provide("postgresTemplate", template);
  return async () => {
    await onServer(server, `drop database if exists ${template} with (force)`);
    await embedded?.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
