import { regenerateKeyRequestSchema, tagsSchema, updateKeyRequestSchema } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";

/**
 * What LiteLLM takes for a key or a team and this engine would not keep. A limit that is accepted is enforced, so these are
 * refused, each with what to do instead; a value that asks for nothing (null, false, nothing in it, LiteLLM's own default)
 * is taken, because LiteLLM's clients send those on their own.
 */
const NOT_KEPT: Readonly<Record<string, string>> = {
  tpd_limit: "tokens a day are not limited here; leave it out, and set max_budget with budget_duration",
  budget_reset_at: "it follows from budget_duration; leave it out",
  budget_limits: "a key or team has one budget; set max_budget and budget_duration",
  budget_fallbacks: "no model takes another's place; leave it out",
  guardrails: "there are none; leave it out",
  members_with_roles: "POST /team/member_add adds members",
  admins: "POST /team/member_add adds members, with role: admin",
  members: "POST /team/member_add adds members",
  organization_id: "teams belong to no organization here; leave it out",
  auto_rotate: "keys are not rotated by themselves here; POST /key/regenerate does it",
};

/** LiteLLM's own defaults beside those that are empty. */
const ASKS_FOR_NOTHING: Readonly<Record<string, readonly unknown[]>> = { key_type: ["default"], spend: [0] };

/** Requests in which a `spend` of 0 asks LiteLLM for something: to forget what a key has spent. */
const CHANGES: ReadonlySet<unknown> = new Set([updateKeyRequestSchema, regenerateKeyRequestSchema]);

/** Fields that some other request takes. */
const TAKEN_ELSEWHERE: Readonly<Record<string, string>> = {
  key_type: "a key has it from its mint on; set allowed_routes",
  allowed_routes: "routes are opened by keys; set it on the key",
  budget_id: "keys have budgets; give it to the keys of the team, or set the limits on the team itself",
  max_budget_in_team: "a member has no budget of the team of its own; POST /limit/set limits a user",
  new_master_key: "the master key is LITELLM_MASTER_KEY of the process; change it there",
  aliases: "those of a team are model_aliases",
  model_aliases: "those of a key are aliases",
};

/** What LiteLLM reads as a limit, or more than a label, although it stands among the labels. */
const LIMITS_IN_METADATA: Readonly<Record<string, string>> = {
  rpm_limit: "set it as a field of the key itself",
  tpm_limit: "set it as a field of the key itself",
  model_max_budget: "set it as a field of the key itself",
  guardrails: "there are none; leave it out",
};

/** What LiteLLM keeps among the labels, and is enforced: a number by model. */
const LIMITS_BY_MODEL = ["model_rpm_limit", "model_tpm_limit"] as const;

/** The fields of a request, as its schema names them. */
export interface KnownFields {
  readonly shape: Readonly<Record<string, unknown>>;
}

/**
 * Throws `invalid_request` for the first field that would not be kept: a limit of LiteLLM that is not enforced here, or a
 * field that nobody knows.
 */
export function refuseUnkeptFields(schema: KnownFields, body: unknown): void {
  if (typeof body !== "object" || body === null) return;
  for (const [name, value] of Object.entries(body)) {
    if (name === "spend" && value === 0 && CHANGES.has(schema))
      throw refused(name, "what was spent is counted here; a budget_duration starts it again, and max_budget makes room");
    if (asksForNothing(name, value)) continue;
    const why = Object.hasOwn(NOT_KEPT, name) ? NOT_KEPT[name] : undefined;
    if (why !== undefined) throw refused(name, why);
    if (!Object.hasOwn(schema.shape, name))
      throw refused(name, (Object.hasOwn(TAKEN_ELSEWHERE, name) && TAKEN_ELSEWHERE[name]) || "there is no such field here; leave it out");
  }
  const { metadata } = body as { readonly metadata?: unknown };
  if (typeof metadata !== "object" || metadata === null) return;
  const labels = metadata as Readonly<Record<string, unknown>>;
  for (const [name, why] of Object.entries(LIMITS_IN_METADATA))
    if (Object.hasOwn(labels, name) && !asksForNothing(name, labels[name])) throw refused(`metadata.${name}`, why);
  for (const name of LIMITS_BY_MODEL)
    if (Object.hasOwn(labels, name) && !isNumberByModel(labels[name]))
      throw refused(`metadata.${name}`, "it must be a whole number by model");
  if (Object.hasOwn(labels, "tags") && !tagsSchema.nullish().safeParse(labels["tags"]).success)
    throw refused("metadata.tags", "it must be a list of texts, as tags of the key or team itself");
}

function isNumberByModel(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return (
    typeof value === "object" && !Array.isArray(value) && Object.values(value).every((one) => Number.isSafeInteger(one) && Number(one) >= 0)
  );
}

function asksForNothing(name: string, value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return true;
  if (typeof value === "object" && Object.keys(value).length === 0) return true;
  return (ASKS_FOR_NOTHING[name] ?? []).includes(value);
}

function refused(name: string, why: string): AppError {
  const param = name.slice(0, 64);
  return new AppError("invalid_request", `${param} would not be kept: ${why}.`, { param });
}
