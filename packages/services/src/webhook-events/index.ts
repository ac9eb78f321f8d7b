export { insertAnomalyEvents, insertWebhookEvent } from "./db.ts";
export { sendDueWebhooks } from "./send-webhooks.ts";
