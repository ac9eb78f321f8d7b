/** The part of Autumn's API that is used here, in the names of autumn-js, so that the library itself is one of its two makers. */
export interface AutumnClient {
  /** One deduction. `status` tells 200 (applied) from 202 (queued). */
  track(request: AutumnTrackRequest, options: AutumnCallOptions): Promise<AutumnTrackAnswer>;
  readonly customers: {
    get(request: { readonly customerId: string }): Promise<AutumnCustomer>;
    /** Idempotent. */
    getOrCreate(request: { readonly customerId: string }): Promise<unknown>;
  };
  readonly events: {
    /** Newest first; `startCursor` is `""` for the first page. At most 5 calls a second for each customer. */
    list(request: {
      readonly customerId: string;
      readonly featureId: string;
      readonly startCursor: string;
      readonly limit: number;
    }): Promise<AutumnEventPage>;
  };
  readonly features: {
    /** Every feature of the account; few. */
    list(): Promise<{ readonly list: readonly AutumnFeature[] }>;
  };
  readonly billing: { attach(request: AutumnAttachRequest, options: AutumnCallOptions): Promise<AutumnAttachAnswer> };
}

export interface AutumnConnection {
  /** As people paste it: a `Bearer ` prefix and a trailing `# comment` are cut. */
  readonly secretKey: string;
  /** With or without a trailing `/v1`. */
  readonly serverUrl: string;
  /** Sent as `x-api-version`; at least 2.1, where an answer states what was deducted. */
  readonly apiVersion: string;
  /** For one call, from its first byte to the last of its answer. Default 15 s. */
  readonly timeoutMs?: number;
}

export const AUTUMN_TIMEOUT_MS = 15_000;

interface AutumnCallOptions {
  /** Autumn applies a call of a key that it has seen in the last 24 h once. */
  readonly headers: { readonly "Idempotency-Key": string };
}

export interface AutumnTrackRequest {
  /** The organization, as {@link customerIdForOrg} spells it. */
  readonly customerId: string;
  /** What is counted: the feature of credits. */
  readonly featureId: string;
  /** Negative gives back. */
  readonly value: number;
  /** `overflow` takes all of it; `cap` what is left. */
  readonly overageBehavior: "overflow" | "cap";
  /** Stand on Autumn's event, by which a batch is found again. */
  readonly properties: Record<string, string | number>;
}

export interface AutumnTrackAnswer {
  readonly status: number;
  readonly customerId: string;
  readonly balance: { readonly remaining: number } | null;
  /** What was really taken; their sum is the charge, not the `value` of the answer. */
  readonly deductions?: readonly { readonly value: number }[] | null | undefined;
}

interface AutumnCustomer {
  readonly id: string | null;
  /** By feature id. */
  readonly balances: Readonly<Record<string, AutumnBalance>>;
  readonly subscriptions?: readonly AutumnSubscription[] | undefined;
  readonly billingControls?: { readonly autoTopups?: readonly AutumnAutoTopup[] | undefined } | undefined;
}

/** Autumn buys credits by itself when a balance runs low. */
interface AutumnAutoTopup {
  readonly featureId: string;
  readonly enabled: boolean;
}

export interface AutumnFeature {
  readonly id: string;
  /** `metered`, `credit_system`, `ai_credit_system`, `boolean`; others may come. */
  readonly type: string;
  /** Used up, as credits are; seats are not. */
  readonly consumable: boolean;
  readonly archived?: boolean | undefined;
  /** Of a credit system: the metered features that draw from it, each at its own rate. */
  readonly creditSchema?: readonly { readonly meteredFeatureId: string }[] | undefined;
}

/** A plan that the customer has, or will have. */
export interface AutumnSubscription {
  readonly planId: string;
  readonly status: string;
  /** One that comes on top of another plan. */
  readonly addOn: boolean;
  /** Milliseconds since 1970. */
  readonly trialEndsAt: number | null;
}

interface AutumnBalance {
  readonly granted: number;
  readonly remaining: number;
  readonly usage: number;
  readonly unlimited: boolean;
  /** Milliseconds since 1970. */
  readonly nextResetAt: number | null;
  /** The balances of which this is the sum. */
  readonly breakdown?: readonly { readonly id: string }[] | undefined;
}

export interface AutumnEvent {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  /** As asked for. */
  readonly value: number;
  /** As taken. Null or an empty list took nothing: Autumn makes the one of the other. */
  readonly deductions?: readonly { readonly value: number }[] | null | undefined;
  readonly properties: Readonly<Record<string, unknown>>;
}

export interface AutumnEventPage {
  readonly list: readonly AutumnEvent[];
  readonly nextCursor: string | null;
}

interface AutumnAttachRequest {
  /** The organization, as {@link customerIdForOrg} spells it. */
  readonly customerId: string;
  /** The plan that sells the pack. */
  readonly planId: string;
  /** How much of each prepaid feature is bought. */
  readonly featureQuantities: { featureId: string; quantity: number }[];
  /** Nobody is there to be sent to a checkout page. */
  readonly redirectMode: "never";
}

interface AutumnAttachAnswer {
  readonly customerId: string;
  readonly invoice?: { readonly status: string | null } | undefined;
  readonly paymentUrl: string | null;
  readonly requiredAction?: { readonly code: string } | undefined;
}
