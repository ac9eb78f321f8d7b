import { checkDatabase, grantRole } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startTestDeployment, type TestDeployment } from "./test-deployment.ts";
import { type PgBouncer, startPgBouncer } from "./test-pgbouncer.ts";

/** The whole product through a real PgBouncer; with TEST_PGBOUNCER, which names the program, alone. */

const program = process.env["TEST_PGBOUNCER"];

describe.skipIf(!program)("users 02: PgBouncer", () => {
  let database: TestDatabase;
  let pooler: PgBouncer;
  let deployment: TestDeployment | undefined;
  afterEach(async () => {
    await deployment?.stop();
    deployment = undefined;
  });

  describe("in session mode", () => {
    beforeAll(async () => {
      database = await createTestDatabase();
      pooler = await startPgBouncer(program ?? "", database.connectionString, "session");
    });
    afterAll(async () => {
      await pooler.stop();
      await database.drop();
    });

    test("needs no setting at all: a request goes all the way", async () => {
      deployment = await startTestDeployment({
        databaseEnvironment: { DATABASE_URL: pooler.through(database.connectionString) },
        db: database.db,
      });

      await deployment.followOneRequest("through_session_pooler");

      expect(await deployment.logs()).not.toMatch(/"level":(50|60)/);
    });
  });

  describe("in transaction mode", () => {
    beforeAll(async () => {
      database = await createTestDatabase();
      pooler = await startPgBouncer(program ?? "", database.connectionString, "transaction");
    });
    afterAll(async () => {
      await pooler.stop();
      await database.drop();
    });

    test("is found out at the start where nobody said so", async () => {
      await expect(checkDatabase({ connectionString: pooler.through(database.connectionString) })).rejects.toMatchObject({
        code: "database_pooling",
      });
    });

    test("is refused until the role has the settings of a session", async () => {
      await expect(
        checkDatabase({ connectionString: pooler.through(database.connectionString), pooling: "transaction" }),
      ).rejects.toMatchObject({ code: "database_pooling", message: expect.stringContaining("search_path") });
    });

    test("with its settings, the direct address for what lives as long as its session: a request goes all the way", async () => {
      await grantRole({
        connectionString: database.connectionString,
        role: new URL(database.connectionString).username,
        withSettings: true,
      });
      await pooler.stop();
      pooler = await startPgBouncer(program ?? "", database.connectionString, "transaction");

      deployment = await startTestDeployment({
        databaseEnvironment: {
          DATABASE_URL: pooler.through(database.connectionString),
          DATABASE_DIRECT_URL: database.connectionString,
          DATABASE_POOLING: "transaction",
        },
        db: database.db,
      });
      await deployment.followOneRequest("through_transaction_pooler");

      expect(await deployment.logs()).not.toMatch(/"level":(50|60)/);
    });
  });
});
