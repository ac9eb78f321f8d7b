import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { sql } from "kysely";
import pg from "pg";
import { expect, test } from "vitest";
import { createTestDatabase } from "./test-database.ts";

/** The folder `litellm_proxy_extras/migrations` of LiteLLM's package; it is not part of this repository. */
const FOLDER = process.env["LITELLM_MIGRATIONS"];

test.runIf(FOLDER)(
  "litellm 3: every migration of LiteLLM applies over the tables that ours made, and what stands in them stays",
  async () => {
    const database = await createTestDatabase();
    await sql`insert into "LiteLLM_VerificationToken" (token, models, max_budget) values ('ours', '{claude-haiku-4-5}', 1.5)`.execute(
      database.db,
    );
    await sql`insert into "LiteLLM_TeamTable" (team_id) values ('org')`.execute(database.db);
    const client = new pg.Client({ connectionString: database.connectionString });
    await client.connect();
    await client.query("set search_path = litellm");

    const names = (await readdir(FOLDER ?? "", { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .toSorted();
    for (const name of names) await client.query(await readFile(join(FOLDER ?? "", name, "migration.sql"), "utf8"));

    await client.end();
    expect(names.length).toBeGreaterThan(150);
    expect(
      (
        await sql`select models, max_budget, total_spend, policies from "LiteLLM_VerificationToken" where token = 'ours'`.execute(
          database.db,
        )
      ).rows,
    ).toMatchObject([{ models: ["claude-haiku-4-5"], max_budget: "1.5" }]);
    await database.drop();
  },
);
