import { AUTUMN_TIMEOUT_MS, type AutumnClient, type AutumnConnection } from "./autumn-client.ts";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn-settings.ts";

/**
 * Autumn through `autumn-js`: fails closed, makes no retries of its own. The library takes 0.7 s to load and 140 MB of
 * memory, so it is loaded when this is called.
 */
export async function openAutumnSdk(connection: AutumnConnection): Promise<AutumnClient> {
  const { Autumn, HTTPClient } = await import("autumn-js");
  // The library returns 200 and 202 alike; the status of an answer is noted here under its key.
  const statuses = new Map<string, number>();
  const httpClient = new HTTPClient();
  httpClient.addHook("response", (response, request) => {
    const key = request.headers.get("idempotency-key");
    if (key !== null) statuses.set(key, response.status);
  });
  const autumn = new Autumn({
    secretKey: cleanAutumnSecretKey(connection.secretKey),
    serverURL: cleanAutumnUrl(connection.serverUrl),
    xApiVersion: connection.apiVersion,
    failOpen: false,
    retryConfig: { strategy: "none" },
    timeoutMs: connection.timeoutMs ?? AUTUMN_TIMEOUT_MS,
    httpClient,
  });
  return {
    customers: autumn.customers,
    events: { list: async (request) => autumn.events.list(request) },
    billing: autumn.billing,
    async track(request, options) {
      const key = options.headers["Idempotency-Key"];
      try {
        const answer = await autumn.track(request, { timeoutMs: connection.timeoutMs ?? AUTUMN_TIMEOUT_MS, ...options });
        return { ...answer, status: statuses.get(key) ?? 200 };
      } finally {
        statuses.delete(key);
      }
    },
  };
}
