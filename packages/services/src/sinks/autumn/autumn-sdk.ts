import { AUTUMN_TIMEOUT_MS, type AutumnClient, type AutumnConnection } from "./autumn-client.ts";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn-settings.ts";
import { fetchWhole } from "../../outgoing/index.ts";

/**
 * Autumn through `autumn-js`: fails closed, makes no retries of its own. The library takes 0.7 s to load and 140 MB of
 * memory, so it is loaded when this is called. It is given our way to make a request: its own time-out does not fire on this
 * Node, and it reads copies of an answer, of which the unread one fails unheard where the answer breaks off.
 */
export async function openAutumnSdk(connection: AutumnConnection): Promise<AutumnClient> {
  const { Autumn, HTTPClient } = await import("autumn-js");
  const timeoutMs = connection.timeoutMs ?? AUTUMN_TIMEOUT_MS;
  // The library returns 200 and 202 alike; the status of an answer is noted here under its key.
  const statuses = new Map<string, number>();
  const httpClient = new HTTPClient({
    fetcher: async (input, init) => {
      const request = input instanceof Request ? input : new Request(input, init);
      const headers = Object.fromEntries(request.headers);
      const answer = await fetchWhole(request.url, { headers, body: await request.clone().text() }, { timeoutMs });
      const key = headers["idempotency-key"];
      if (key !== undefined) statuses.set(key, answer.status);
      return new Response(BODILESS.has(answer.status) ? null : answer.text, { status: answer.status, headers: answer.headers });
    },
  });
  const autumn = new Autumn({
    secretKey: cleanAutumnSecretKey(connection.secretKey),
    serverURL: cleanAutumnUrl(connection.serverUrl),
    xApiVersion: connection.apiVersion,
    failOpen: false,
    retryConfig: { strategy: "none" },
    timeoutMs,
    httpClient,
  });
  return {
    customers: autumn.customers,
    events: { list: async (request) => autumn.events.list(request) },
    features: { list: async () => autumn.features.list() },
    billing: autumn.billing,
    async track(request, options) {
      const key = options.headers["Idempotency-Key"];
      try {
        const answer = await autumn.track(request, options);
        return { ...answer, status: statuses.get(key) ?? 200 };
      } finally {
        statuses.delete(key);
      }
    },
  };
}

/** Statuses with which a Response can have no body. */
const BODILESS: ReadonlySet<number> = new Set([204, 205, 304]);
