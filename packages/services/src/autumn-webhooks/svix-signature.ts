import { createHmac, timingSafeEqual } from "node:crypto";

/** The three headers that a signature stands in; undefined where one was not sent. */
interface SvixHeaders {
  /** `svix-id` */
  readonly id: string | undefined;
  /** `svix-timestamp`, in seconds since 1970 */
  readonly timestamp: string | undefined;
  /** `svix-signature`: `v1,<base64>`, several of them separated by blanks while a secret is rotated */
  readonly signature: string | undefined;
}

/** What a signature is checked against. */
interface SvixVerification {
  /** As Svix shows them: `whsec_` and base64. Any of them may have signed. */
  readonly secrets: readonly string[];
  readonly nowSeconds: number;
  /** How far the timestamp may be from now, in either direction. Default 5 minutes, as Svix's own libraries take it. */
  readonly toleranceSeconds?: number;
}

/** What a signature has after its version: 32 bytes in base64. */
const SIGNATURE = /^v1,([A-Za-z0-9+/]{43}=)$/;
/** One a rotated secret, and a few to spare. */
const MOST_SIGNATURES = 8;

/**
 * True when one of the secrets signed these bytes a moment ago (Svix's scheme: HMAC-SHA256 of `<id>.<timestamp>.<body>`,
 * https://docs.svix.com/receiving/verifying-payloads/how-manual). Compares in constant time. Never throws.
 */
export function isSignedBySvix(
  body: Uint8Array,
  { id, timestamp, signature }: SvixHeaders,
  { secrets, nowSeconds, toleranceSeconds = 300 }: SvixVerification,
): boolean {
  if (id === undefined || timestamp === undefined || signature === undefined || !/^\d{1,12}$/.test(timestamp)) return false;
  if (Math.abs(nowSeconds - Number(timestamp)) > toleranceSeconds) return false;
  const sent = signature
    .split(" ", MOST_SIGNATURES)
    .flatMap((one) => SIGNATURE.exec(one)?.[1] ?? [])
    .map((text) => Buffer.from(text, "base64"));
  const right = secrets.map((secret) => createHmac("sha256", keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest());
  return sent.filter((mac) => right.some((own) => timingSafeEqual(mac, own))).length > 0;
}

/** True for a secret of Svix: `whsec_` and the base64 of at least 16 bytes. */
export function isSvixSecret(text: string): boolean {
  return /^whsec_[A-Za-z0-9+/]+={0,2}$/.test(text) && keyOf(text).length >= 16;
}

function keyOf(secret: string): Buffer {
  return Buffer.from(secret.slice("whsec_".length), "base64");
}
