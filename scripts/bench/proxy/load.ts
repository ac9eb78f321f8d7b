import { Agent } from "undici";
import { quantile } from "../figures.ts";

export interface Target {
  /** Without a path. */
  readonly url: string;
  /** The callers, in turn. */
  readonly keys: readonly string[];
}

interface LoadOptions {
  readonly requests: number;
  readonly connections: number;
  readonly isStreamed: boolean;
}

export interface LoadResult {
  readonly requestsPerSecond: number;
  /** To the last byte. */
  readonly medianMs: number;
  readonly p99Ms: number;
  /** To the first byte of the body, median. */
  readonly firstByteMs: number;
}

const MESSAGE = { model: "claude-haiku-4-5", max_tokens: 200, messages: [{ role: "user", content: "Say something." }] };

/** Asks `requests` times over `connections` connections, each as soon as its last answer ended. Throws unless every answer is a whole 200. */
export async function putUnderLoad(target: Target, { requests, connections, isStreamed }: LoadOptions): Promise<LoadResult> {
  const agent = new Agent({ connections });
  const body = JSON.stringify({ ...MESSAGE, stream: isStreamed });
  const totals: number[] = [];
  const firstBytes: number[] = [];
  const ask = async (index: number): Promise<void> => {
    const key = target.keys[index % target.keys.length] ?? "";
    const startedAt = performance.now();
    const answer = await agent.request({
      origin: target.url,
      path: "/v1/messages",
      method: "POST",
      headers: { "x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01" },
      body,
    });
    let text = "";
    for await (const chunk of answer.body) {
      if (text === "") firstBytes.push(performance.now() - startedAt);
      text += (chunk as Buffer).toString("latin1");
    }
    totals.push(performance.now() - startedAt);
    if (answer.statusCode !== 200 || (isStreamed && !text.includes("message_stop")))
      throw new Error(`an answer of ${target.url} is no whole 200: ${answer.statusCode} ${text.slice(0, 300)}`);
  };
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async (_, lane) => {
      for (let index = lane; index < requests; index += connections) await ask(index);
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  await agent.close();
  return {
    requestsPerSecond: totals.length / seconds,
    medianMs: quantile(totals, 0.5),
    p99Ms: quantile(totals, 0.99),
    firstByteMs: quantile(firstBytes, 0.5),
  };
}
