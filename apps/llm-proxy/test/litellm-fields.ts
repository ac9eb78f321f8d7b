import { keyInfo, listed, spendRow, statuses, type Subject, teamInfo } from "./litellm-engine.ts";
import { CHAT, MESSAGE } from "./test-stack.ts";

/** One field of a request, a value of it, and what a test sees of a key that has it and of one that has not. */
export interface FieldCase {
  readonly fields: (unique: string) => Readonly<Record<string, unknown>>;
  readonly observe: (subject: Subject) => Promise<unknown>;
  readonly seen: unknown;
  readonly without: unknown;
  /** What real LiteLLM 1.104 shows in place of `seen`, where it is something else, and why. */
  readonly litellm?: { readonly seen: unknown; readonly because: string };
}

const HAIKU = MESSAGE.model;
const OPEN = [200, 200];
const modelBudget = { [HAIKU]: { budget_limit: 0.0000001, time_period: "1d" } };

function limit(fields: Readonly<Record<string, unknown>>, seen: readonly number[], litellm?: FieldCase["litellm"]): FieldCase {
  return { fields: () => fields, observe: statuses, seen, without: OPEN, ...(litellm && { litellm }) };
}
const spent = { seen: [422, 422], because: "LiteLLM answers 422 where a budget is spent; here it is 402" };

/** What a key, an update of a key and a team have in common. What is refused is so from the first request on. */
const OF_ALL: Readonly<Record<string, FieldCase>> = {
  max_budget: limit({ max_budget: 0 }, [402, 402], spent),
  tpm_limit: limit({ tpm_limit: 1 }, [429, 429]),
  rpm_limit: limit({ rpm_limit: 0 }, [429, 429]),
  max_parallel_requests: limit({ max_parallel_requests: 0 }, [429, 429]),
  model_max_budget: limit({ model_max_budget: modelBudget }, [402, 200], {
    seen: OPEN,
    because: "LiteLLM looks at what was spent, so the first request passes; it also asks for a licence",
  }),
  model_rpm_limit: limit({ model_rpm_limit: { [HAIKU]: 0 } }, [429, 200]),
  model_tpm_limit: limit({ model_tpm_limit: { [HAIKU]: 1 } }, [429, 200]),
  models: {
    fields: () => ({ models: ["anthropic/*"] }),
    observe: async (subject) => ({ called: await statuses(subject), listed: await listed(subject, [HAIKU, CHAT.model]) }),
    seen: { called: [200, 403], listed: [HAIKU] },
    without: { called: OPEN, listed: [HAIKU, CHAT.model] },
  },
  blocked: limit({ blocked: true }, [401, 401]),
  tags: {
    fields: () => ({ tags: ["red", "blue"] }),
    observe: async (subject) => (await spendRow(subject, { headers: { "x-litellm-tags": "sent, red" } }))["request_tags"],
    seen: ["sent", "red", "blue"],
    without: ["sent", "red"],
    litellm: { seen: null, because: "LiteLLM asks for a licence before it takes tags (403), and adds one of the caller's program" },
  },
};

const SOFT_BUDGET: FieldCase = {
  fields: () => ({ soft_budget: 1.5 }),
  observe: async (subject) =>
    ((await keyInfo(subject))["litellm_budget_table"] as { soft_budget?: number | null } | null)?.soft_budget ?? null,
  seen: 1.5,
  without: null,
};

const OF_KEY_AND_UPDATE: Readonly<Record<string, FieldCase>> = {
  ...OF_ALL,
  metadata: {
    fields: () => ({ metadata: { colour: "red" } }),
    observe: async (subject) => (await keyInfo(subject))["metadata"],
    seen: { colour: "red" },
    without: {},
  },
  soft_budget: SOFT_BUDGET,
  budget_id: {
    fields: () => ({ budget_id: "budget-of-the-table" }),
    observe: async (subject) => [
      await statuses(subject),
      ((await keyInfo(subject))["litellm_budget_table"] as { max_budget?: number } | null)?.max_budget,
    ],
    seen: [[402, 402], 0],
    without: [OPEN, undefined],
    litellm: { seen: [[422, 422], 0], because: spent.because },
  },
  budget_duration: {
    fields: () => ({ budget_duration: "1d" }),
    observe: async (subject) => (await keyInfo(subject))["budget_reset_at"] !== null,
    seen: true,
    without: false,
  },
  allowed_routes: limit({ allowed_routes: ["/v1/messages"] }, [200, 403]),
  aliases: {
    fields: (unique) => ({ aliases: { [`mine-${unique}`]: HAIKU } }),
    observe: calledByAlias,
    seen: { status: 200, isListed: true, group: HAIKU },
    without: { status: 404, isListed: false, group: undefined },
  },
  key_alias: {
    fields: (unique) => ({ key_alias: `alias-${unique}` }),
    observe: async ({ engine, unique, token }) =>
      (await engine.manage(`/key/list?key_alias=alias-${unique}`)).body["keys"]?.toString() === token,
    seen: true,
    without: false,
  },
  duration: {
    fields: () => ({ duration: "1h" }),
    observe: async (subject) => (await keyInfo(subject))["expires"] !== null,
    seen: true,
    without: false,
  },
  team_id: {
    fields: () => ({ team_id: "team-of-the-table" }),
    observe: async (subject) => (await spendRow(subject))["team_id"],
    seen: "team-of-the-table",
    without: "",
  },
  user_id: {
    fields: () => ({ user_id: "somebody" }),
    observe: async (subject) => (await spendRow(subject))["user"],
    seen: "somebody",
    without: "",
    litellm: { seen: "somebody", because: "the same; a key without one is the administrator's there (`default_user_id`)" },
  },
};

/** Limits that several keys have in common, seen by one of the keys. */
const { max_budget, tpm_limit, rpm_limit, model_max_budget } = OF_ALL as Readonly<Record<string, FieldCase>>;
const OF_BUDGET = {
  max_budget,
  tpm_limit,
  rpm_limit,
  model_max_budget,
  max_parallel_requests: limit({ max_parallel_requests: 0 }, [429, 429], {
    seen: OPEN,
    because: "LiteLLM keeps it and applies it to users and organizations, not to keys",
  }),
  soft_budget: SOFT_BUDGET,
  budget_duration: {
    fields: () => ({ budget_duration: "1d" }),
    observe: async (subject: Subject) =>
      ((await keyInfo(subject))["litellm_budget_table"] as { budget_reset_at: unknown }).budget_reset_at !== null,
    seen: true,
    without: false,
  },
} as Readonly<Record<string, FieldCase>>;

/** What is called by the alias, and how it is told. */
async function calledByAlias(subject: Subject): Promise<unknown> {
  const alias = `mine-${subject.unique}`;
  const answer = await subject.engine.call(subject.key, "/v1/messages", { ...MESSAGE, model: alias });
  await answer.text();
  const isListed = (await listed(subject, [alias])).length > 0;
  return { status: answer.status, isListed, group: answer.headers.get("x-litellm-model-group") ?? undefined };
}

/** By request of LiteLLM's contract, every field of it. */
export const FIELDS: Readonly<Record<"key" | "update" | "team" | "budget" | "budget update", Readonly<Record<string, FieldCase>>>> = {
  "key": {
    ...OF_KEY_AND_UPDATE,
    key: {
      fields: (unique) => ({ key: `sk-chosen-${unique}` }),
      observe: async ({ key, unique }) => key === `sk-chosen-${unique}`,
      seen: true,
      without: false,
    },
    key_type: limit({ key_type: "read_only" }, [403, 403]),
    caller_kind: {
      fields: () => ({ caller_kind: "nobody" }),
      observe: async ({ status }) => status,
      seen: 400,
      without: 200,
      litellm: { seen: 200, because: "it is ours alone; LiteLLM ignores what it does not know" },
    },
  },
  "update": {
    ...OF_KEY_AND_UPDATE,
    key: {
      fields: () => ({ metadata: { touched: true } }),
      observe: async (subject) => (await keyInfo(subject))["metadata"],
      seen: { touched: true },
      without: {},
    },
  },
  "budget": {
    ...OF_BUDGET,
    budget_id: {
      fields: (unique) => ({ budget_id: `budget-${unique}` }),
      observe: async (subject) => (await keyInfo(subject))["budget_id"] === `budget-${subject.unique}`,
      seen: true,
      without: false,
    },
  },
  "budget update": {
    ...OF_BUDGET,
    // Names the budget that is changed: without it nothing would be.
    budget_id: limit({ max_budget: 0 }, [402, 402], spent),
  },
  "team": {
    ...OF_ALL,
    metadata: {
      fields: () => ({ metadata: { colour: "red" } }),
      observe: async (subject) => (await teamInfo(subject))["metadata"],
      seen: { colour: "red" },
      without: {},
    },
    soft_budget: {
      fields: () => ({ soft_budget: 1.5 }),
      observe: async (subject) => (await teamInfo(subject))["soft_budget"],
      seen: 1.5,
      without: null,
    },
    budget_duration: {
      fields: () => ({ budget_duration: "1d" }),
      observe: async (subject) => (await teamInfo(subject))["budget_reset_at"] !== null,
      seen: true,
      without: false,
    },
    model_aliases: {
      fields: (unique) => ({ model_aliases: { [`mine-${unique}`]: HAIKU } }),
      observe: calledByAlias,
      seen: { status: 200, isListed: true, group: HAIKU },
      without: { status: 404, isListed: false, group: undefined },
    },
    team_id: {
      fields: (unique) => ({ team_id: `named-${unique}` }),
      observe: async ({ teamId, unique }) => teamId === `named-${unique}`,
      seen: true,
      without: false,
    },
    team_alias: {
      fields: () => ({ team_alias: "The Reds" }),
      observe: async (subject) => (await teamInfo(subject))["team_alias"],
      seen: "The Reds",
      without: null,
    },
  },
};
