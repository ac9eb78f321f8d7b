import { createHmac, timingSafeEqual } from "node:crypto";

/** The header that carries it. */
export const SIGNATURE_HEADER = "x-llm-gateway-signature";

/** `t=<seconds since 1970>,v1=<hex>`: HMAC-SHA256 of `<seconds>.<body>` under the secret. */
export function signWebhook(body: string, options: { readonly secret: string; readonly timestampSeconds: number }): string {
  return `t=${options.timestampSeconds},v1=${macOf(body, options.secret, options.timestampSeconds)}`;
}

/**
 * For receivers, and a reference for those in other languages: true when the header signs this body and is not older than
 * `toleranceSeconds` (default 5 min). A recorded call that is replayed later is refused.
 */
export function verifyWebhook(
  body: string,
  header: string,
  options: { readonly secret: string; readonly nowSeconds: number; readonly toleranceSeconds?: number },
): boolean {
  const [, time, mac] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  if (time === undefined || mac === undefined) return false;
  const timestampSeconds = Number(time);
  if (Math.abs(options.nowSeconds - timestampSeconds) > (options.toleranceSeconds ?? 300)) return false;
  return timingSafeEqual(Buffer.from(mac, "hex"), Buffer.from(macOf(body, options.secret, timestampSeconds), "hex"));
}

const macOf = (body: string, secret: string, timestampSeconds: number): string =>
  createHmac("sha256", secret).update(`${timestampSeconds}.${body}`).digest("hex");
