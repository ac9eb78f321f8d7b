import { objectOf, textOf } from "./sse-data.ts";
import { isCount } from "./usage-fields.ts";
import { type Fee, type FeeCounts, FEES } from "./usage-report.ts";

/** What the items of an output say that its usage does not. */
export interface ItemCounts {
  /** Uses of the provider's tools that have a fee. */
  readonly uses: FeeCounts;
  /** `output=TYPE` of items that may cost and are not known here; bounded. */
  readonly unknown: readonly string[];
}

/** Nothing but tokens. */
const NO_ITEMS: ItemCounts = { uses: {}, unknown: [] };

/** Items that cost their tokens alone: what the model says, and what the caller or its servers do. */
const TOKENS_ALONE: ReadonlySet<string> = new Set([
  ...["message", "reasoning", "compaction", "program", "program_output", "additional_tools", "configuration_update"],
  ...["function", "custom_tool", "computer", "local_shell", "shell", "apply_patch", "mcp"].flatMap((kind) => [
    `${kind}_call`,
    `${kind}_call_output`,
  ]),
  ...["tool_search_call", "tool_search_output", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"],
]);
/** Looking at a page that a search has found has no fee. */
const FREE_ACTION = /^(?:open_page|find_in_page|find)$/;

const MOST_UNKNOWN = 16;
const MOST_CONTAINERS = 1_000;

/** Counts the items of one answer, each once. Memory is bounded. */
export class ItemCounter {
  readonly #containers = new Set<string>();
  readonly #unknown = new Set<string>();
  #webSearch = 0;
  #fileSearch = 0;

  /** Takes an item that is done. What is no item, such as one that was too large to be kept, is unknown. */
  take(value: unknown): void {
    const item = objectOf(value);
    const type = textOf(item?.["type"]);
    if (!item || type === undefined) return this.#addUnknown("output=not read");
    // A shell costs nothing where it is the caller's own.
    const isHosted = type === "shell_call" && !["local", undefined].includes(textOf(objectOf(item["environment"])?.["type"]));
    if (TOKENS_ALONE.has(type) && !isHosted) return;
    if (type === "web_search_call") this.#webSearch += isSearch(item["action"]) ? 1 : 0;
    else if (type === "file_search_call") this.#fileSearch += 1;
    else if (type !== "code_interpreter_call") this.#addUnknown(`output=${type}`);
    else if (this.#containers.size < MOST_CONTAINERS) this.#containers.add(textOf(item["container_id"]) ?? "");
  }

  counts(): ItemCounts {
    const uses = { webSearch: this.#webSearch, fileSearch: this.#fileSearch, codeSession: this.#containers.size };
    return countsOf(uses, [...this.#unknown]);
  }

  #addUnknown(name: string): void {
    if (this.#unknown.size < MOST_UNKNOWN) this.#unknown.add(name.slice(0, 128));
  }
}

/** An action that cannot be read is taken for a search. */
function isSearch(action: unknown): boolean {
  const type = textOf(objectOf(action)?.["type"]);
  return type === undefined || !FREE_ACTION.test(type);
}

/** What is 0 is left out; nothing at all is one value. */
function countsOf(uses: Readonly<Record<Fee, number>>, unknown: readonly string[]): ItemCounts {
  const due = FEES.filter((fee) => uses[fee] > 0);
  if (due.length === 0 && unknown.length === 0) return NO_ITEMS;
  return { uses: Object.fromEntries(due.map((fee) => [fee, uses[fee]])), unknown: unknown.toSorted() };
}

/** The items of a whole output. */
export function countItems(output: unknown): ItemCounts {
  const counter = new ItemCounter();
  if (Array.isArray(output)) for (const item of output) counter.take(item);
  return counter.counts();
}

/** Two counts of one answer: of each kind the larger, because either may leave items out. */
export function largerItems(a: ItemCounts, b: ItemCounts): ItemCounts {
  const most = (fee: Fee): number => Math.max(a.uses[fee] ?? 0, b.uses[fee] ?? 0);
  const uses = { webSearch: most("webSearch"), fileSearch: most("fileSearch"), codeSession: most("codeSession") };
  return countsOf(uses, [...new Set([...a.unknown, ...b.unknown])]);
}

/** What a row kept of them. */
export function itemCountsOf(kept: Readonly<Record<string, unknown>> | undefined): ItemCounts {
  if (!kept) return NO_ITEMS;
  const uses = objectOf(kept["uses"]);
  const countOf = (fee: Fee): number => (isCount(uses?.[fee]) ? uses[fee] : 0);
  const { unknown } = kept;
  return countsOf(
    { webSearch: countOf("webSearch"), fileSearch: countOf("fileSearch"), codeSession: countOf("codeSession") },
    Array.isArray(unknown) ? unknown.filter((name) => typeof name === "string") : [],
  );
}
