import type { ToolCallPart, ToolResultPart } from "./conversation.ts";
import type { SafeNames } from "./safe-names.ts";

/**
 * Ids of calls in the form of one provider. Where the caller's dialect gives none, calls are numbered, and a result answers the first call of its
 * name that has none yet.
 */
export class CallIds {
  readonly #safe: SafeNames;
  readonly #unnamed: { readonly id: string; readonly name: string; isAnswered: boolean }[] = [];

  constructor(safe: SafeNames) {
    this.#safe = safe;
  }

  ofCall({ id, name }: Pick<ToolCallPart, "id" | "name">): string {
    if (id !== undefined) return this.#safe.of(id);
    const numbered = { id: `call_${this.#unnamed.length}`, name, isAnswered: false };
    this.#unnamed.push(numbered);
    return numbered.id;
  }

  ofResult({ callId, name }: Pick<ToolResultPart, "callId" | "name">): string {
    if (callId !== undefined) return this.#safe.of(callId);
    const call = this.#unnamed.find((one) => !one.isAnswered && (name === undefined || one.name === name));
    if (!call) return this.#safe.of(name ?? "call");
    call.isAnswered = true;
    return call.id;
  }
}
