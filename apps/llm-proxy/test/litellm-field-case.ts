import type { Engine, Subject } from "./litellm-engine.ts";

/** One field of a request, a value of it, and what a test sees of a key that has it and of one that has not. */
export interface FieldCase {
  readonly fields: (unique: string) => Readonly<Record<string, unknown>>;
  /** What is looked at, in words. */
  readonly what: string;
  readonly observe: (subject: Subject) => Promise<unknown>;
  /** By our engine. A request that is refused shows `Refused`. */
  readonly seen: unknown;
  readonly without: unknown;
  readonly litellm?: Difference;
}

/** What real LiteLLM 1.104 was seen to do where it is something else, and why. What is left out is as here. */
interface Difference {
  readonly seen?: unknown;
  readonly without?: unknown;
  readonly because: string;
}

/** What is seen where the request that has the field is not taken. */
export interface Refused {
  readonly refused: number;
  /** The refusal says that the field is for those who pay LiteLLM for a licence. */
  readonly forLicence?: true;
}

/** Why LiteLLM does not take some fields. */
export const LICENCE = "LiteLLM's paid licence is required; here it needs none";

/** A request of LiteLLM's contract that has fields. */
export type RequestKind = "key" | "update" | "team" | "budget" | "budget update";

type Fields = Readonly<Record<string, unknown>>;

/** Ends the way to a key; what it carries is what the row sees. */
class RefusedRequest extends Error {
  readonly seen: Refused;

  constructor({ status, body }: { readonly status: number; readonly body: unknown }) {
    const text = JSON.stringify(body);
    super(text);
    this.seen = { refused: status, ...(text.includes("LiteLLM Enterprise") && { forLicence: true }) };
  }
}

/**
 * What a row sees of a key that got its fields by a request of the kind, or `Refused` where that request was; without `fieldsOf`: of a key
 * as any other. Throws where a request is refused that has none of the fields.
 */
export async function observed(
  engine: Engine,
  kind: RequestKind,
  { observe }: Pick<FieldCase, "observe">,
  fieldsOf?: FieldCase["fields"],
): Promise<unknown> {
  const unique = crypto.randomUUID().slice(0, 8);
  try {
    return await observe({ engine, unique, ...(await withFields(engine, kind, fieldsOf?.(unique))) });
  } catch (error) {
    if (fieldsOf && error instanceof RefusedRequest) return error.seen;
    throw error;
  }
}

/** Makes what the request is about, with the fields, and a key that has to do with it. */
async function withFields(
  engine: Engine,
  kind: RequestKind,
  fields: Fields | undefined,
): Promise<Pick<Subject, "key" | "token" | "teamId">> {
  const ask = async (path: string, body: Fields): Promise<Fields> => {
    const answer = await engine.manage(path, body);
    if (answer.status !== 200) throw new RefusedRequest(answer);
    return answer.body;
  };
  const made = await madeBefore(ask, kind, fields ?? {});
  const { key, token } = (await ask("/key/generate", kind === "key" ? (fields ?? {}) : made)) as Record<"key" | "token", string>;
  if (fields && kind === "update") await ask("/key/update", { key, ...fields });
  if (fields && kind === "budget update") await ask("/budget/update", { ...made, ...fields });
  return { key, token, teamId: made["team_id"] as string | undefined };
}

/** The team or budget that the key is minted with, with the fields where the request is about it. */
async function madeBefore(ask: (path: string, body: Fields) => Promise<Fields>, kind: RequestKind, fields: Fields): Promise<Fields> {
  if (kind === "team") return { team_id: (await ask("/team/new", { team_alias: null, ...fields }))["team_id"] };
  if (kind === "budget") return { budget_id: (await ask("/budget/new", fields))["budget_id"] };
  if (kind === "budget update") return { budget_id: (await ask("/budget/new", {}))["budget_id"] };
  return {};
}
