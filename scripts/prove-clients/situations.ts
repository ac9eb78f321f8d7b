import type { Script } from "@proliferate/testing/provider-stand-in/script";

/** What a client meets. */
export interface Situation {
  /** As the tables of docs/clients.md name it. */
  readonly name: string;
  /** The key that it has; default: one without limits. */
  readonly key?: "expired" | "of_other_models" | "revoked" | "spent";
  /** Its key may do one thing at a time, and does, until the client has been refused. */
  readonly isBusy?: boolean;
  /** The model that it asks for; default: one that is served in its dialect. */
  readonly model?: "unknown";
  /** What its provider does; default: answers. */
  readonly provider?: Script;
  /** How many of its requests the provider does that to; default: all. */
  readonly times?: number;
  /** It is asked for something that needs a tool of its own. */
  readonly needsTool?: boolean;
  /** The provider is silent until pings have come. */
  readonly isSilent?: boolean;
  /** Whether a client can get its answer in the end. */
  readonly canRecover: boolean;
}

const UNKNOWN_MODEL = "gpt-0-no-such-model";
/** Each dialect has sent the head of its answer by then, and no end. */
const FRAMES_BEFORE_DEATH = 4;

export const SITUATIONS: readonly Situation[] = [
  { name: "answers", canRecover: true },
  { name: "is silent for a time", isSilent: true, canRecover: true },
  { name: "expired key", key: "expired", canRecover: false },
  { name: "revoked key", key: "revoked", canRecover: false },
  { name: "spent budget", key: "spent", canRecover: false },
  { name: "model that the key may not use", key: "of_other_models", canRecover: false },
  { name: "unknown model", model: "unknown", canRecover: false },
  { name: "too many at once, for a moment", isBusy: true, canRecover: true },
  {
    name: "provider 429, for a while",
    provider: { fault: { kind: "status", status: 429, retryAfterSeconds: 1 } },
    times: 4,
    canRecover: true,
  },
  { name: "provider 429, for good", provider: { fault: { kind: "status", status: 429 } }, canRecover: false },
  { name: "provider 500, once", provider: { fault: { kind: "status", status: 500 } }, times: 1, canRecover: true },
  { name: "provider 500, for good", provider: { fault: { kind: "status", status: 500 } }, canRecover: false },
  { name: "provider 529, for a while", provider: { fault: { kind: "status", status: 529 } }, times: 4, canRecover: true },
  { name: "provider 529, for good", provider: { fault: { kind: "status", status: 529 } }, canRecover: false },
  {
    name: "stream dies, once",
    provider: { fault: { kind: "cut_mid_stream", afterFrames: FRAMES_BEFORE_DEATH } },
    times: 1,
    canRecover: true,
  },
  { name: "stream dies, for good", provider: { fault: { kind: "cut_mid_stream", afterFrames: FRAMES_BEFORE_DEATH } }, canRecover: false },
];

/** What a program with tools meets beside. */
export const TOOL_SITUATION: Situation = { name: "a loop of tools", needsTool: true, canRecover: true };

/** The model that a client asks for in a situation. */
export function modelOf({ model }: Situation, served: string): string {
  return model === "unknown" ? UNKNOWN_MODEL : served;
}
