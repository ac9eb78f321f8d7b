/** How an answer goes wrong on its way, whatever was done before. */
export type TransportFault =
  /** Never answered. */
  | { readonly kind: "silent" }
  /** Answered after so long. */
  | { readonly kind: "slow"; readonly afterMs: number }
  /** Status and half of the body; then the connection breaks. */
  | { readonly kind: "cut_body" }
  /** Status and half of the body; then nothing more, and the connection stays. */
  | { readonly kind: "stall_body" }
  /** A byte now and then, without an end. */
  | { readonly kind: "drip"; readonly everyMs: number }
  /** A body without an end. */
  | { readonly kind: "endless" }
  /** The connection breaks before a byte of the answer. */
  | { readonly kind: "reset" }
  /** Something between us answers in its place: a page, not JSON. */
  | { readonly kind: "page"; readonly status: number };

/**
 * Ways in which a `track` goes wrong, seen on the real server or possible there. "Released" and "kept" say what becomes
 * of its idempotency key.
 */
export type AutumnFault =
  /** Refused before anything happens; released. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly code?: string;
      readonly message?: string;
      readonly retryAfterSeconds?: number;
    }
  /** Applied, then answered with an error; released, so that a repeat deducts again. */
  | { readonly kind: "status_after_apply"; readonly status: number }
  /** The server dies after its claim: nothing applied, kept. */
  | { readonly kind: "reset_before_apply" }
  /** Applied, the answer is lost; kept. */
  | { readonly kind: "reset_after_apply" }
  /** Never answered; kept. */
  | { readonly kind: "hang"; readonly applied: boolean }
  /** 202: queued until `drainQueue` applies or `dropQueue` loses it; kept. */
  | { readonly kind: "accept" }
  /** Applied and answered with 204, which autumn-js takes for an error; kept. */
  | { readonly kind: "no_content" }
  /** The key store cannot be reached and lets everything through: a repeat deducts again. */
  | { readonly kind: "key_store_down" }
  /** Applied, and the answer goes wrong on its way; kept. */
  | { readonly kind: "transport"; readonly how: TransportFault }
  /** A proxy answers with a page, and Autumn never heard of it. */
  | { readonly kind: "page"; readonly status: number };
