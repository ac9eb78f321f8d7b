import { type FieldCase, LICENCE, type Refused, type RequestKind } from "./litellm-field-case.ts";
import { inTurn, keyInfo, listed, spendRow, statuses, type Subject, teamInfo } from "./litellm-engine.ts";
import { CHAT, MESSAGE } from "./test-stack.ts";

const HAIKU = MESSAGE.model;
const OPEN = [200, 200];
const CALLS = "calls";
const BY_ALIAS = "the status of a call by the alias, whether it is listed, and `x-litellm-model-group` of the answer";
const NO_MODEL = "LiteLLM answers 400 where it has no such model; here it is 404";
const LISTED = [HAIKU, `anthropic/${HAIKU}`, CHAT.model];
const modelBudget = { [HAIKU]: { budget_limit: 0.0000001, time_period: "1d" } };

function limit(fields: Readonly<Record<string, unknown>>, seen: readonly number[], litellm?: FieldCase["litellm"]): FieldCase {
  return { fields: () => fields, what: CALLS, observe: statuses, seen, without: OPEN, ...(litellm && { litellm }) };
}
const SPENT = "LiteLLM answers 422 where a budget is spent; here it is 402";
const spent = { seen: [422, 422], because: SPENT };

/** A field that LiteLLM takes from those only who pay for a licence, and with which status it says so. */
function licensed(refused: number): Required<Pick<NonNullable<FieldCase["litellm"]>, "seen" | "because">> {
  const seen: Refused = { refused, forLicence: true };
  return { seen, because: LICENCE };
}

function perModelBudget(refused: number): FieldCase {
  return limit({ model_max_budget: modelBudget }, [402, 200], licensed(refused));
}

function tags(): FieldCase {
  return {
    fields: () => ({ tags: ["red", "blue"] }),
    what: "`request_tags` of the spend row of a call that is sent with the tags `sent, red`",
    observe: async (subject) => (await spendRow(subject, { headers: { "x-litellm-tags": "sent, red" } }))["request_tags"],
    seen: ["sent", "red", "blue"],
    without: ["sent", "red"],
    litellm: {
      ...licensed(403),
      without: ["sent", "red", "User-Agent: node"],
      because: `${LICENCE}. LiteLLM adds the caller's program to every row's tags`,
    },
  };
}

/** What a key, an update of a key and a team have in common. What is refused is so from the first request on. */
const OF_ALL: Readonly<Record<string, FieldCase>> = {
  max_budget: limit({ max_budget: 0 }, [402, 402], spent),
  tpm_limit: limit({ tpm_limit: 1 }, [429, 429]),
  rpm_limit: limit({ rpm_limit: 0 }, [429, 429]),
  max_parallel_requests: limit({ max_parallel_requests: 0 }, [429, 429]),
  model_rpm_limit: limit({ model_rpm_limit: { [HAIKU]: 0 } }, [429, 200]),
  model_tpm_limit: limit({ model_tpm_limit: { [HAIKU]: 1 } }, [429, 200]),
  models: {
    fields: () => ({ models: ["anthropic/*"] }),
    what: "calls; models",
    observe: async (subject) => ({ called: await statuses(subject), listed: await listed(subject, LISTED) }),
    seen: { called: [200, 403], listed: LISTED.slice(0, 2) },
    without: { called: OPEN, listed: LISTED },
    litellm: {
      seen: { called: [200, 403], listed: LISTED.slice(1, 2) },
      because: "LiteLLM lists what its own list has under the pattern, not what is configured; what may be called is the same",
    },
  },
  blocked: limit({ blocked: true }, [401, 401]),
  tags: tags(),
};

const SOFT_BUDGET: FieldCase = {
  fields: () => ({ soft_budget: 1.5 }),
  what: "`soft_budget` of the key's budget, by `GET /key/info`",
  observe: async (subject) =>
    ((await keyInfo(subject))["litellm_budget_table"] as { soft_budget?: number | null } | null)?.soft_budget ?? null,
  seen: 1.5,
  without: null,
};

const OF_KEY_AND_UPDATE: Readonly<Record<string, FieldCase>> = {
  ...OF_ALL,
  metadata: {
    fields: () => ({ metadata: { colour: "red" } }),
    what: "`metadata`, by `GET /key/info` or `/team/info`",
    observe: async (subject) => (await keyInfo(subject))["metadata"],
    seen: { colour: "red" },
    without: {},
  },
  soft_budget: SOFT_BUDGET,
  budget_id: {
    fields: () => ({ budget_id: "budget-of-the-table" }),
    what: "calls; the key's `max_budget` by `GET /key/info`",
    observe: async (subject) => [
      await statuses(subject),
      ((await keyInfo(subject))["litellm_budget_table"] as { max_budget?: number } | null)?.max_budget,
    ],
    seen: [[402, 402], 0],
    without: [OPEN, undefined],
    litellm: { seen: [[422, 422], 0], because: SPENT },
  },
  budget_duration: {
    fields: () => ({ budget_duration: "1d" }),
    what: "whether there is a `budget_reset_at`",
    observe: async (subject) => (await keyInfo(subject))["budget_reset_at"] !== null,
    seen: true,
    without: false,
  },
  allowed_routes: limit({ allowed_routes: ["/v1/messages"] }, [200, 403]),
  aliases: {
    fields: (unique) => ({ aliases: { [`mine-${unique}`]: HAIKU } }),
    what: BY_ALIAS,
    observe: calledByAlias,
    seen: { status: 200, isListed: true, group: HAIKU },
    without: { status: 404, isListed: false, group: undefined },
    litellm: { without: { status: 400, isListed: false, group: undefined }, because: NO_MODEL },
  },
  key_alias: {
    fields: (unique) => ({ key_alias: `alias-${unique}` }),
    what: "whether `GET /key/list?key_alias=…` finds the key",
    observe: async ({ engine, unique, token }) =>
      (await engine.manage(`/key/list?key_alias=alias-${unique}`)).body["keys"]?.toString() === token,
    seen: true,
    without: false,
  },
  duration: {
    fields: () => ({ duration: "1h" }),
    what: "whether the key `expires`",
    observe: async (subject) => (await keyInfo(subject))["expires"] !== null,
    seen: true,
    without: false,
  },
  team_id: {
    fields: () => ({ team_id: "team-of-the-table" }),
    what: "`team_id` of the spend row of a call",
    observe: async (subject) => (await spendRow(subject))["team_id"],
    seen: "team-of-the-table",
    without: "",
  },
  user_id: {
    fields: () => ({ user_id: "somebody" }),
    what: "`user` of the spend row of a call",
    observe: async (subject) => (await spendRow(subject))["user"],
    seen: "somebody",
    without: "",
  },
};

/** Limits that several keys have in common, seen by one of the keys. */
const { max_budget, tpm_limit, rpm_limit } = OF_ALL as Readonly<Record<string, FieldCase>>;
const OF_BUDGET = {
  max_budget,
  tpm_limit,
  rpm_limit,
  model_max_budget: perModelBudget(400),
  max_parallel_requests: limit({ max_parallel_requests: 0 }, [429, 429], {
    seen: OPEN,
    because: "LiteLLM keeps it and applies it to users and organizations, not to keys",
  }),
  soft_budget: SOFT_BUDGET,
  budget_duration: {
    fields: () => ({ budget_duration: "1d" }),
    what: "whether there is a `budget_reset_at`",
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
export const FIELDS: Readonly<Record<RequestKind, Readonly<Record<string, FieldCase>>>> = {
  "key": {
    ...OF_KEY_AND_UPDATE,
    key: {
      fields: (unique) => ({ key: `sk-chosen-${unique}` }),
      what: "whether that is the key",
      observe: async ({ key, unique }) => key === `sk-chosen-${unique}`,
      seen: true,
      without: false,
    },
    key_type: limit({ key_type: "read_only" }, [403, 403]),
    model_max_budget: perModelBudget(500),
    caller_kind: {
      fields: () => ({ caller_kind: "nobody" }),
      what: "whether the request is taken",
      observe: async () => "taken",
      seen: { refused: 400 } satisfies Refused,
      without: "taken",
      litellm: { seen: "taken", because: "it is ours alone; LiteLLM ignores what it does not know" },
    },
  },
  "update": {
    ...OF_KEY_AND_UPDATE,
    model_max_budget: perModelBudget(400),
    key: {
      fields: () => ({ metadata: { touched: true } }),
      what: "`metadata` of the key that is named, by `GET /key/info`",
      observe: async (subject) => (await keyInfo(subject))["metadata"],
      seen: { touched: true },
      without: {},
    },
  },
  "budget": {
    ...OF_BUDGET,
    budget_id: {
      fields: (unique) => ({ budget_id: `budget-${unique}` }),
      what: "whether the key has that `budget_id`",
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
    max_budget: {
      fields: () => ({ max_budget: 0 }),
      what: "calls in turn",
      observe: inTurn,
      seen: [402],
      without: OPEN,
      litellm: {
        seen: [200, 422],
        because:
          "LiteLLM refuses a team that has spent more than its budget, so the first call passes; a key at its budget is refused by both",
      },
    },
    max_parallel_requests: limit({ max_parallel_requests: 0 }, [429, 429], {
      seen: OPEN,
      because: "LiteLLM keeps it and applies it to nothing",
    }),
    model_max_budget: perModelBudget(403),
    metadata: {
      fields: () => ({ metadata: { colour: "red" } }),
      what: "`metadata`, by `GET /key/info` or `/team/info`",
      observe: async (subject) => (await teamInfo(subject))["metadata"],
      seen: { colour: "red" },
      without: {},
    },
    soft_budget: {
      fields: () => ({ soft_budget: 1.5 }),
      what: "`soft_budget`, by `GET /team/info`",
      observe: async (subject) => (await teamInfo(subject))["soft_budget"],
      seen: 1.5,
      without: null,
    },
    budget_duration: {
      fields: () => ({ budget_duration: "1d" }),
      what: "whether there is a `budget_reset_at`",
      observe: async (subject) => (await teamInfo(subject))["budget_reset_at"] !== null,
      seen: true,
      without: false,
    },
    model_aliases: {
      fields: (unique) => ({ model_aliases: { [`mine-${unique}`]: HAIKU } }),
      what: BY_ALIAS,
      observe: calledByAlias,
      seen: { status: 200, isListed: true, group: HAIKU },
      without: { status: 404, isListed: false, group: undefined },
      litellm: { without: { status: 400, isListed: false, group: undefined }, because: NO_MODEL },
    },
    team_id: {
      fields: (unique) => ({ team_id: `named-${unique}` }),
      what: "whether the team has that id",
      observe: async ({ teamId, unique }) => teamId === `named-${unique}`,
      seen: true,
      without: false,
    },
    team_alias: {
      fields: () => ({ team_alias: "The Reds" }),
      what: "`team_alias`, by `GET /team/info`",
      observe: async (subject) => (await teamInfo(subject))["team_alias"],
      seen: "The Reds",
      without: null,
    },
  },
};
