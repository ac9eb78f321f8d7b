import { type FieldCase, LICENCE, type Refused, type RequestKind } from "./litellm-field-case.ts";
import { keyInfo, inTurn, listed, statuses, type Subject } from "./litellm-engine.ts";
import { CHAT, MESSAGE } from "./test-stack.ts";

/** A value of a field of which something particular is seen, beside the one that FIELDS has. */
interface ValueCase extends FieldCase {
  readonly kind: RequestKind;
}

const HAIKU = MESSAGE.model;
const LISTED = [HAIKU, `anthropic/${HAIKU}`, CHAT.model];

type Observation = Pick<FieldCase, "what" | "observe">;
const calls: Observation = { what: "calls", observe: statuses };
const callsInTurn: Observation = { what: "calls in turn", observe: inTurn };
const models: Observation = { what: "models", observe: (subject) => listed(subject, LISTED) };
const taken: Observation = { what: "whether it is taken", observe: async () => "taken" };
const expires: Observation = {
  what: "whether the key `expires`",
  observe: async (subject) => (await keyInfo(subject))["expires"] !== null,
};
const reset = (what: string, of: (reset: Date) => unknown): Observation => ({
  what: `${what} of \`budget_reset_at\``,
  observe: async (subject: Subject) => of(new Date(String((await keyInfo(subject))["budget_reset_at"]))),
});
const refused = (status: number): Refused => ({ refused: status });

function ofKey(fields: FieldCase["fields"], observation: Observation, seen: unknown, litellm?: FieldCase["litellm"]): ValueCase {
  return { kind: "key", fields, ...observation, seen, without: undefined, ...(litellm && { litellm }) };
}

/** What particular values do, by our engine and by real LiteLLM. */
export const VALUES: readonly ValueCase[] = [
  ofKey(() => ({ max_budget: 0.0000001 }), callsInTurn, [402], {
    seen: [200, 422],
    because: "LiteLLM looks at what was spent; here a request starts only if the least that it costs still fits",
  }),
  ofKey(() => ({ max_budget: -1 }), taken, refused(422), { seen: refused(400), because: "another status" }),
  ofKey(() => ({ rpm_limit: -1 }), calls, refused(422), {
    seen: [429, 429],
    because: "LiteLLM takes it for a limit that nothing is below",
  }),
  ofKey(() => ({ rpm_limit: 1.5 }), taken, refused(422)),
  ofKey(() => ({ tpm_limit: "5" }), taken, refused(422), { seen: "taken", because: "LiteLLM reads numbers out of text" }),
  ofKey(() => ({ budget_id: "nobody's" }), taken, refused(400), { seen: refused(500), because: "LiteLLM finds out too late" }),
  ofKey(() => ({ team_id: "nobody's" }), calls, [404, 404]),
  ofKey(() => ({ budget_duration: "2mo" }), taken, "taken", { seen: refused(400), because: "LiteLLM knows one month only" }),
  ofKey(
    () => ({ budget_duration: "monthly" }),
    reset("the day of the month", (at) => at.getUTCDate()),
    1,
  ),
  ofKey(
    () => ({ budget_duration: "90m" }),
    reset("seconds and milliseconds", (at) => at.getTime() % 60_000),
    0,
  ),
  ofKey(
    () => ({ budget_duration: "5h" }),
    reset("what is beyond the full hour", (at) => at.getTime() % 3_600_000),
    0,
  ),
  ofKey(
    () => ({ budget_duration: "2d" }),
    reset("what is beyond midnight", (at) => at.getTime() % 86_400_000),
    0,
  ),
  ofKey(
    () => ({ budget_duration: "48h" }),
    reset("the days until the end (begun ones are whole)", (at) => Math.ceil((at.getTime() - Date.now()) / 86_400_000)),
    2,
    { seen: 1, because: "LiteLLM ends windows of more than 24 hours on the next day" },
  ),
  ofKey(() => ({ budget_duration: "30min" }), taken, refused(400), {
    seen: "taken",
    because: "LiteLLM takes it and ends the window at midnight; so does this engine where such a row stands",
  }),
  ofKey(() => ({ duration: "daily" }), expires, true),
  ofKey(() => ({ duration: "30min" }), expires, refused(400), { seen: true, because: "LiteLLM reads `30m` and drops the rest" }),
  ofKey(() => ({ duration: "1y" }), expires, refused(400), { seen: refused(500), because: "another status" }),
  ofKey(() => ({ allowed_routes: ["/chat/completions"] }), calls, [403, 200], {
    seen: [403, 403],
    because: "LiteLLM has the route with `/v1` and the one without it for two; here they are one",
  }),
  ofKey(() => ({ allowed_routes: ["llm_api_routes"] }), calls, [200, 200]),
  ofKey(() => ({ allowed_routes: ["openai_routes"] }), calls, [403, 200]),
  ofKey(() => ({ allowed_routes: ["/v1/messages*"] }), calls, [200, 403]),
  ofKey(() => ({ key_type: "llm_api" }), calls, [200, 200]),
  ofKey(() => ({ key_type: "management" }), calls, refused(400), {
    seen: [403, 403],
    because: "LiteLLM opens its management API to such a key; here that takes the master key alone",
  }),
  ofKey(() => ({ models: ["*"] }), models, LISTED, { seen: [], because: "LiteLLM lists nothing for it; what may be called is the same" }),
  ofKey(() => ({ models: ["all-proxy-models"] }), models, LISTED),
  ofKey(() => ({ models: ["no-default-models"] }), calls, [403, 403]),
  ofKey(() => ({ models: ["no-default-models"] }), models, []),
  ofKey(() => ({ models: ["all-team-models"], team_id: "team-of-one-model" }), models, [HAIKU]),
  ofKey(() => ({ models: ["all-proxy-models"], team_id: "team-of-one-model" }), calls, [200, 403]),
  ofKey(() => ({ models: ["all-proxy-models"], team_id: "team-of-one-model" }), models, [HAIKU], {
    seen: LISTED,
    because: "LiteLLM lists what the key names, though the team's list keeps it from being called",
  }),
  ofKey((unique) => ({ key: `sk-${unique}` }), taken, "taken", {
    seen: refused(400),
    because: "LiteLLM asks for 16 characters; here 8 follow `sk-`",
  }),
  ofKey((unique) => ({ key: `no-${unique}-${unique}` }), taken, refused(400)),
  ofKey((unique) => ({ key_alias: `a b ${unique}` }), taken, refused(400), { seen: "taken", because: "here an alias has no spaces" }),
  ofKey(() => ({ tpd_limit: 1 }), calls, refused(400), { seen: [200, 200], because: "LiteLLM applies it to batches alone" }),
  ofKey(() => ({ guardrails: ["nobody's"] }), taken, refused(400), { seen: { ...refused(403), forLicence: true }, because: LICENCE }),
  ofKey(() => ({ unheard_of: 1 }), taken, refused(400), { seen: "taken", because: "LiteLLM ignores what it does not know" }),
];
