import type { GatewayApp } from "./dependencies.ts";

/**
 * What every operation of the document has that no route has to say: a name for generated clients, the group that it is shown
 * in, an example of its body. Made from the routes as they are, so that a new one has them, too.
 */

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const METHODS = ["get", "post", "put", "patch", "delete"] as const;

/** By the first words of the path. */
const TAGS: readonly (readonly [string, string, string])[] = [
  ["/v1/sessions", "sessions", "Sessions, their keys and sandboxes"],
  ["/v1/orgs", "orgs", "What an organization used and owes"],
  ["/v1/tokens", "tokens", "Tokens of services"],
  ["/v1/billing", "billing", "Billing as a whole, and what operators decide"],
  ["/webhooks", "webhooks", "What others tell us"],
  ["/", "process", "This process, for supervisors and Prometheus"],
];

/** Bodies that work as they are, by operation. The tests send each. */
const EXAMPLES: Readonly<Record<string, JsonObject>> = {
  postSessions: { org_id: "org_a" },
  postSessionExtend: { duration: "1h" },
  postSessionResume: {},
  postTokens: { name: "backend", scopes: ["sessions:read"] },
  postTokenRotate: { overlap_seconds: 300 },
  postBillingRateCards: { markup: "2", valid_from: "2100-01-01T00:00:00Z" },
  postBillingReviewRedrive: { org_id: "org_a" },
  patchBillingOrg: { plan: "paid" },
  postBillingOrgSuspend: { reason: "the card was stolen" },
  postBillingOrgResume: { reason: "the card was replaced" },
  putBillingOrgTopUpPolicy: { plan_id: "top_up", pack_credits: "500" },
  postBillingOrgTopUpPolicyResetBreaker: { reason: "the card was replaced" },
  postBillingKeyMap: { org_id: "org_a" },
  putBillingPayer: { org_id: "org_a" },
  putBillingOrgCustomer: { customer_id: "cus_a" },
  postBillingTopUpSettle: { bought: true, reason: "seen in Autumn" },
  postBillingBatchDecide: { delivered: true, reason: "seen in Autumn" },
  postBillingMonthRetire: { dry_run: true },
  postBillingAlertClear: { reason: "the month was added by hand" },
  postBillingReconcile: { dry_run: true },
  postBillingAudit: { from: "2020-01-01T00:00:00Z", to: "2100-01-01T00:00:00Z" },
};

/** The document with those. `servers` is where it was read from. */
export function describeOperations(document: ReturnType<GatewayApp["getOpenAPI31Document"]>): JsonObject {
  const described = structuredClone(document) as unknown as JsonObject;
  described["servers"] = [{ url: "/", description: "The gateway that serves this document" }];
  described["tags"] = TAGS.map(([, name, description]) => ({ name, description }));
  for (const [path, item] of Object.entries(objectOf(described["paths"]))) {
    for (const method of METHODS) {
      const operation = objectOf(item)[method];
      if (operation !== undefined) describeOperation(objectOf(operation), operationIdOf(method, path), path, described);
    }
  }
  return described;
}

/** `POST /v1/sessions/{session_id}/pause` is `postSessionPause`: the words of the path, singular where an id follows. */
function operationIdOf(method: string, path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== "v1");
  const words = parts.flatMap((part, index) => {
    if (part.startsWith("{")) return [];
    const isOne = parts[index + 1]?.startsWith("{") === true;
    return (
      isOne
        ? part
            .replace(/(ch|sh|s|x)es$/, "$1")
            .replace(/ies$/, "y")
            .replace(/([^s])s$/, "$1")
        : part
    ).split(/[-_.]/);
  });
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}

function describeOperation(operation: JsonObject, operationId: string, path: string, document: JsonObject): void {
  operation["operationId"] = operationId;
  operation["tags"] = [TAGS.find(([prefix]) => path.startsWith(prefix))?.[1] ?? "process"];
  operation["security"] ??= [];
  const media = objectOf(objectOf(objectOf(operation["requestBody"])["content"])["application/json"]);
  if (media["schema"] === undefined) return;
  optionalByDefault(media["schema"], document);
  const example = EXAMPLES[operationId];
  if (example !== undefined) media["example"] = example;
}

/**
 * Puts a request field's default into words. Generators of clients take a field with a default for one that is always there,
 * which a caller would then have to send.
 */
function optionalByDefault(schema: Json, document: JsonObject): void {
  if (Array.isArray(schema)) return schema.forEach((one) => optionalByDefault(one, document));
  if (schema === null || typeof schema !== "object") return;
  const reference = schema["$ref"];
  if (typeof reference === "string")
    return optionalByDefault(objectOf(objectOf(objectOf(document["components"])["schemas"])[reference.split("/").at(-1) ?? ""]), document);
  if (schema["default"] !== undefined && !isFieldMap(schema)) {
    schema["description"] = [schema["description"], `Default: ${JSON.stringify(schema["default"])}.`].filter(Boolean).join(" ");
    delete schema["default"];
  }
  Object.values(schema).forEach((value) => optionalByDefault(value, document));
}

/** A map of fields may have one that is called `default`; a schema's own default is never a schema. */
const isFieldMap = (schema: JsonObject): boolean =>
  typeof schema["default"] === "object" && schema["default"] !== null && "type" in schema["default"];

const objectOf = (value: Json | undefined): JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
