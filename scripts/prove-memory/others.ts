import { setTimeout as sleep } from "node:timers/promises";
import { quantile } from "../bench/figures.ts";

/** What callers that behave were answered. */
export interface Latency {
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const CALLERS = 4;
const PAUSE_MS = 20;
const BODY = JSON.stringify({ model: "gpt-4o-mini", max_tokens: 20, messages: [{ role: "user", content: "Say something. ".repeat(130) }] });

/** Four callers that behave send so many requests, each one at a time with a pause between two. */
export async function measureOthers(url: string, key: string, requests: number): Promise<Latency> {
  const times: number[] = [];
  let failed = 0;
  let left = requests;
  const call = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const startedAt = performance.now();
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "x-api-key": key, "content-type": "application/json" },
        body: BODY,
      }).catch(() => undefined);
      await response?.text();
      if (response?.status === 200) times.push(performance.now() - startedAt);
      else failed += 1;
      await sleep(PAUSE_MS);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
  return { requests: times.length, failed, p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
}
