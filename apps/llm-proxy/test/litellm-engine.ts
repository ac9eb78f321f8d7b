import { until } from "@proliferate/testing/test-patience";
import { manage } from "./proxy-process.ts";
import { CHAT, MESSAGE, type TestStack } from "./test-stack.ts";

/** What the table of LiteLLM's fields is run against: our proxy, or a real LiteLLM. */
export interface Engine {
  /** A call of the management API with the master key. */
  manage(path: string, body?: unknown): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  /** A call of the data plane with a key. */
  call(key: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
}

interface Addresses {
  readonly url: string;
  readonly adminUrl: string;
  readonly masterKey?: string;
}

/** An engine at its addresses; ours is a proxy of the tests. */
export function engineAt({ url, adminUrl, masterKey }: Addresses): Engine {
  return {
    manage: async (path, body) => manage({ adminUrl } as TestStack["proxy"], path, body, masterKey),
    call: async (key, path, body, headers) =>
      fetch(`${url}${path}`, {
        headers: {
          "authorization": `Bearer ${key}`,
          "content-type": "application/json",
          // Of our list of models, whoever speaks Anthropic's API sees Anthropic's; the real one shows all to everybody.
          ...(path.startsWith("/v1/messages") && { "anthropic-version": "2023-06-01" }),
          ...headers,
        },
        ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
      }),
  };
}

/** A key that has the field, by itself, by an update or through its team. */
export interface Subject {
  readonly engine: Engine;
  /** Differs for each subject. */
  readonly unique: string;
  readonly key: string;
  readonly token: string;
  readonly teamId: string | undefined;
}

/** The status of a small call of each of two models: Anthropic's, and OpenAI's. */
export async function statuses({ engine, key }: Subject): Promise<readonly number[]> {
  const answers = await Promise.all([engine.call(key, "/v1/messages", MESSAGE), engine.call(key, "/v1/chat/completions", CHAT)]);
  await Promise.all(answers.map(async (answer) => answer.text()));
  return answers.map(({ status }) => status);
}

/**
 * The statuses of small calls of Anthropic's model in turn: of one, and of another when what the first cost stands on the key. None follows
 * one that is refused.
 */
export async function inTurn(subject: Subject): Promise<readonly number[]> {
  const call = async (): Promise<number> => {
    const answer = await subject.engine.call(subject.key, "/v1/messages", MESSAGE);
    await answer.text();
    return answer.status;
  };
  const first = await call();
  if (first !== 200) return [first];
  await until(
    async () => Number((await keyInfo(subject))["spend"]),
    (spend) => spend > 0,
  );
  return [first, await call()];
}

/** The names that `GET /v1/models` shows, as far as they are asked for. */
export async function listed({ engine, key }: Subject, names: readonly string[]): Promise<readonly string[]> {
  const { data = [] } = (await (await engine.call(key, "/v1/models")).json()) as { readonly data?: readonly { readonly id: string }[] };
  return names.filter((name) => data.some(({ id }) => id === name));
}

/** The row of the key, and of its team. */
export async function keyInfo({ engine, key }: Subject): Promise<Record<string, unknown>> {
  return (await engine.manage(`/key/info?key=${encodeURIComponent(key)}`)).body["info"] as Record<string, unknown>;
}
export async function teamInfo({ engine, teamId }: Subject): Promise<Record<string, unknown>> {
  return (await engine.manage(`/team/info?team_id=${encodeURIComponent(teamId ?? "")}`)).body["team_info"] as Record<string, unknown>;
}

function dayFromNow(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
}

/** The spend row of one successful call, which is written a moment after its answer. */
export async function spendRow(
  subject: Subject,
  request: { readonly model?: string; readonly headers?: Record<string, string> } = {},
): Promise<Record<string, unknown>> {
  const { engine, key, token } = subject;
  await (await engine.call(key, "/v1/messages", { ...MESSAGE, ...(request.model && { model: request.model }) }, request.headers)).text();
  const query = new URLSearchParams({ start_date: dayFromNow(-1), end_date: dayFromNow(1), api_key: token });
  const [row] = await until(
    async () => ((await engine.manage(`/spend/logs/v2?${query}`)).body["data"] ?? []) as readonly Record<string, unknown>[],
    (rows) => rows.length > 0,
  );
  return row ?? {};
}
