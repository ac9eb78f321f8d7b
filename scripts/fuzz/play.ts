import { patience } from "@proliferate/testing/test-patience";
import { mutateJson } from "./json-mutations.ts";
import type { Played } from "./fuzz-run.ts";
import type { FuzzStack } from "./fuzz-stack.ts";
import type { Choices } from "./random.ts";
import { sendRaw } from "./raw-client.ts";
import { type Mark, requestCase } from "./request-cases.ts";
import { type RecordedAnswer, streamCase } from "./stream-cases.ts";

/** Nothing of a case takes so long: what has not ended by then never does. */
const HANG_MS = 60_000;

/**
 * A mutated request to a provider that is well. Whatever it is, it is answered, and not with a 5xx: the provider is well, so each would be of the proxy's own
 * making. Only who said that nothing more comes, or left, or sent no HTTP, need not be answered.
 */
export async function playRequest({ proxy, samples }: FuzzStack, choices: Choices, mark: Mark): Promise<Played> {
  const { made, leavesAfterBytes, ...request } = requestCase(choices, samples, mark);
  const answer = await sendRaw(proxy.url, { ...request, leavesAfterBytes }, patience(HANG_MS));
  const mayBeSilent = request.endsEarly || leavesAfterBytes !== undefined;
  if (answer.status === 0 && !mayBeSilent) return { made, answer, wrong: "was not answered", isRepeated: false };
  const wrong = answer.status >= 500 ? `was answered with ${answer.status}: ${answer.body.slice(0, 300)}` : undefined;
  return { made, answer, wrong, isRepeated: false };
}

/**
 * Statuses of 500 and above that the proxy may answer a provider's fault with, by docs/errors.md: `provider_stream_broken`, `provider_answer_unreadable`,
 * `provider_stream_missing`, `provider_answer_too_large`, `provider_key_rejected` and `provider_unreachable` are 502, `provider_timeout` is 504.
 * Beside them the provider's own status is passed on.
 */
const OF_A_PROVIDER: ReadonlySet<number> = new Set([502, 504]);

/** Statuses by which a provider says that it has done nothing, so that the proxy asks again (`router_settings.num_retries`). */
const REPEATED: ReadonlySet<number> = new Set([429, 503, 529]);

/** A good request to a provider whose answer is mutated. It ends, and with a 5xx only where {@link OF_A_PROVIDER} or the provider says so. */
export async function playStream(
  { proxy, provider }: FuzzStack,
  recorded: readonly RecordedAnswer[],
  choices: Choices,
  { name, key }: Mark,
): Promise<Played> {
  const { made, sample, status, headers, pieces, end, leavesAfterBytes } = streamCase(choices, recorded);
  const isRepeated = REPEATED.has(status);
  const body = mutateJson(choices, sample.body, 0);
  const head = [
    `POST ${sample.path}?fuzz=${name} HTTP/1.1`,
    "Host: gateway",
    `Authorization: Bearer ${key}`,
    "anthropic-version: 2023-06-01",
    `x-litellm-end-user-id: ${name}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
  ].join("\r\n");
  const forget = provider.script(({ path }) => path.includes(name), { fault: { kind: "raw", status, headers, pieces, end } });
  try {
    const sent = { pieces: [Buffer.from(`${head}\r\n\r\n${body}`)], endsEarly: false, leavesAfterBytes };
    const answer = await sendRaw(proxy.url, sent, patience(HANG_MS));
    if (answer.status === 0 && leavesAfterBytes === undefined) return { made, answer, wrong: "was not answered", isRepeated };
    const isAllowed = answer.status < 500 || answer.status === status || OF_A_PROVIDER.has(answer.status);
    return { made, answer, isRepeated, wrong: isAllowed ? undefined : `was answered with ${answer.status}: ${answer.body.slice(0, 300)}` };
  } finally {
    forget();
  }
}
