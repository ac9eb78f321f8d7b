import {
  generateKeyRequestSchema,
  newBudgetRequestSchema,
  newTeamRequestSchema,
  updateBudgetRequestSchema,
  updateKeyRequestSchema,
} from "@proliferate/shared/contracts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Engine, engineAt } from "./litellm-engine.ts";
import { type FieldCase, observed, type RequestKind } from "./litellm-field-case.ts";
import { FIELDS } from "./litellm-fields.ts";
import { VALUES } from "./litellm-values.ts";
import { MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/** Every field of LiteLLM's mint, update and team requests changes something that a test sees. */

const SHAPES = {
  "key": generateKeyRequestSchema.shape,
  "update": updateKeyRequestSchema.shape,
  "team": newTeamRequestSchema.shape,
  "budget": newBudgetRequestSchema.shape,
  "budget update": updateBudgetRequestSchema.shape,
} satisfies Record<RequestKind, object>;
const KINDS = Object.keys(SHAPES) as readonly RequestKind[];

/** A real LiteLLM 1.104 whose models lead to any stand-in: scripts/prove-litellm-fields.sh starts one, and this file with it. */
const { TEST_LITELLM_URL: LITELLM_URL, TEST_LITELLM_MASTER_KEY: LITELLM_MASTER_KEY } = process.env;

/** What rows name. */
async function prepare(engine: Engine): Promise<void> {
  await engine.manage("/team/new", { team_id: "team-of-the-table" });
  await engine.manage("/team/new", { team_id: "team-of-one-model", models: [MESSAGE.model] });
  await engine.manage("/budget/new", { budget_id: "budget-of-the-table", max_budget: 0 });
}

test("a field of the contract has its row in the table, and nothing else has", () => {
  for (const kind of KINDS) expect([kind, Object.keys(FIELDS[kind]).toSorted()]).toEqual([kind, Object.keys(SHAPES[kind]).toSorted()]);
});

const ROWS = KINDS.flatMap((kind) => Object.entries(FIELDS[kind]).map(([field, row]) => [kind, field, row] as const));
const VALUE_ROWS = VALUES.map((row) => [row.kind, JSON.stringify(row.fields("…")), row] as const);

test.each(ROWS)("what is seen of %s %s is not what is seen without it", (_kind, _field, { seen, without }) => {
  expect(seen).not.toEqual(without);
});

const DIFFERING = [...ROWS, ...VALUE_ROWS].filter(([, , { litellm }]) => litellm);

test.each(DIFFERING)("what real LiteLLM does with %s %s is something else", (_kind, _field, row) => {
  expect(ofLitellm(row)).not.toEqual({ seen: row.seen, without: row.without });
});

/** What real LiteLLM is expected to show. */
function ofLitellm({ seen, without, litellm }: FieldCase): Pick<FieldCase, "seen" | "without"> {
  const { because: _, ...instead } = litellm ?? { because: "" };
  return { seen, without, ...instead };
}

/** Each row twice, with its field and without it. */
function testRows(engine: () => Engine, expected: (row: FieldCase) => Pick<FieldCase, "seen" | "without">): void {
  test.each(ROWS)("%s: %s", async (kind, _field, row) => {
    const { seen, without } = expected(row);
    expect(await observed(engine(), kind, row)).toEqual(without);
    expect(await observed(engine(), kind, row, row.fields)).toEqual(seen);
  });

  test.each(VALUE_ROWS)("%s: %s", async (kind, _value, row) => {
    expect(await observed(engine(), kind, row, row.fields)).toEqual(expected(row).seen);
  });
}

describe("our proxy", () => {
  let stack: TestStack;
  let engine: Engine;
  beforeAll(async () => {
    stack = await startTestStack();
    engine = engineAt(stack.proxy);
    await prepare(engine);
  });
  afterAll(() => stack.stop());

  testRows(
    () => engine,
    (row) => row,
  );
});

describe.runIf(LITELLM_URL)("real LiteLLM", () => {
  const url = LITELLM_URL ?? "";
  const engine = engineAt({ url, adminUrl: url, ...(LITELLM_MASTER_KEY !== undefined && { masterKey: LITELLM_MASTER_KEY }) });
  beforeAll(() => prepare(engine));

  testRows(() => engine, ofLitellm);
});
