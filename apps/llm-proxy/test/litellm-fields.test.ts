import { randomUUID } from "node:crypto";
import {
  generateKeyRequestSchema,
  newBudgetRequestSchema,
  newTeamRequestSchema,
  updateBudgetRequestSchema,
  updateKeyRequestSchema,
} from "@proliferate/shared/contracts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Engine, engineAt, type Subject } from "./litellm-engine.ts";
import { type FieldCase, FIELDS } from "./litellm-fields.ts";
import { startTestStack, type TestStack } from "./test-stack.ts";

/** Every field of LiteLLM's mint, update and team requests changes something that a test sees. */

const SHAPES = {
  "key": generateKeyRequestSchema.shape,
  "update": updateKeyRequestSchema.shape,
  "team": newTeamRequestSchema.shape,
  "budget": newBudgetRequestSchema.shape,
  "budget update": updateBudgetRequestSchema.shape,
};
type RequestKind = keyof typeof SHAPES;
const KINDS = Object.keys(SHAPES) as readonly RequestKind[];

/** A real LiteLLM 1.104 whose models lead to any stand-in: the README of this app says how to start one. */
const { TEST_LITELLM_URL: LITELLM_URL, TEST_LITELLM_MASTER_KEY: LITELLM_MASTER_KEY } = process.env;

/** A key that has the fields of one request; undefined: a key as any other. */
async function subjectOf(engine: Engine, kind: RequestKind, fieldsOf: FieldCase["fields"] | undefined): Promise<Subject> {
  const unique = randomUUID().slice(0, 8);
  const fields = fieldsOf?.(unique) ?? {};
  const before = await madeBefore(engine, kind, fields);
  const minted = await engine.manage("/key/generate", kind === "key" ? fields : before);
  const key = minted.body["key"] as string;
  if (kind === "update" && fieldsOf) await engine.manage("/key/update", { key, ...fields });
  if (kind === "budget update" && fieldsOf) await engine.manage("/budget/update", { ...before, ...fields });
  return { engine, unique, status: minted.status, key, token: minted.body["token"] as string, teamId: before["team_id"] as string };
}

/** The team or budget that the key is minted with, with the fields where the request is about it. */
async function madeBefore(
  engine: Engine,
  kind: RequestKind,
  fields: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>>> {
  if (kind === "team") return { team_id: (await engine.manage("/team/new", { team_alias: null, ...fields })).body["team_id"] };
  if (kind === "budget") return { budget_id: (await engine.manage("/budget/new", fields)).body["budget_id"] };
  if (kind === "budget update") return { budget_id: (await engine.manage("/budget/new", {})).body["budget_id"] };
  return {};
}

/** What rows name. */
async function prepare(engine: Engine): Promise<void> {
  await engine.manage("/team/new", { team_id: "team-of-the-table" });
  await engine.manage("/budget/new", { budget_id: "budget-of-the-table", max_budget: 0 });
}

test("a field of the contract has its row in the table, and nothing else has", () => {
  for (const kind of KINDS) expect([kind, Object.keys(FIELDS[kind]).toSorted()]).toEqual([kind, Object.keys(SHAPES[kind]).toSorted()]);
});

const ROWS = KINDS.flatMap((kind) => Object.entries(FIELDS[kind]).map(([field, row]) => [kind, field, row] as const));

test.each(ROWS)("what is seen of %s %s is not what is seen without it", (_kind, _field, { seen, without }) => {
  expect(seen).not.toEqual(without);
});

describe("our proxy", () => {
  let stack: TestStack;
  let engine: Engine;
  beforeAll(async () => {
    stack = await startTestStack();
    engine = engineAt(stack.proxy);
    await prepare(engine);
  });
  afterAll(() => stack.stop());

  test.each(ROWS)("%s: %s", async (kind, _field, { fields, observe, seen, without }) => {
    expect(await observe(await subjectOf(engine, kind, undefined))).toEqual(without);
    expect(await observe(await subjectOf(engine, kind, fields))).toEqual(seen);
  });
});

describe.runIf(LITELLM_URL)("real LiteLLM", () => {
  const url = LITELLM_URL ?? "";
  const engine = engineAt({ url, adminUrl: url, ...(LITELLM_MASTER_KEY !== undefined && { masterKey: LITELLM_MASTER_KEY }) });
  beforeAll(async () => {
    await prepare(engine);
  });

  test.each(ROWS.filter(([, , { litellm }]) => litellm?.seen !== null))(
    "%s: %s",
    async (kind, _field, { fields, observe, seen, litellm }) => {
      expect(await observe(await subjectOf(engine, kind, fields))).toEqual(litellm === undefined ? seen : litellm.seen);
    },
  );
});
