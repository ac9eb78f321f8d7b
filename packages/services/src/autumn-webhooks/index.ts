export { takeAutumnWebhook } from "./autumn-webhook.ts";
export { isSignedBySvix, isSvixSecret } from "./svix-signature.ts";
