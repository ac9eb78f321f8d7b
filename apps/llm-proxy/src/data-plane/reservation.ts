import { type Price, unpricedModifiers, worstCasePicoUsd, type WorstCaseRequest } from "@proliferate/metering/pricing";
import type { Fee, FeeCounts, UsageModifiers } from "@proliferate/metering/usage";
import type { NamedDeployment } from "./named-models.ts";
import type { RequestFacts, ServerTool } from "../body/request-facts.ts";

/**
 * What a request can cost at most. The rules, in the order of `docs/pricing.md`, "What is reserved":
 *
 * - A model reads its context window at most, and answers its own limit at most, whatever is asked: no request reserves more.
 *   Of many prompts (embeddings) each has a window, so that the bytes alone bound them together.
 * - The input is bounded by the bytes, or is the whole context window where the bytes do not show all of it.
 * - A tool that the provider runs makes the model go on once a use, over what may be the whole window: `max_uses`, or
 *   {@link DEFAULT_USES} where the caller sets none. Only tools that find other tools bring in nothing that the bytes do not show.
 * - Compaction reads all of it once more at each pass, and has an answer of its own.
 * - The limit of the output bounds the answer over all passes; each choice (`n`) is an answer and has passes of its own.
 * - A model that is named beside costs its own price: an advisor with every use, a fallback as if it served it all.
 * - Tier, speed and place are reserved at the dearest combination of what is asked and the standard.
 */

/** Where nobody says how much a model takes or answers: no model of today does more. */
export const MOST_CONTEXT_TOKENS = 1_100_000;
export const MOST_OUTPUT_TOKENS = 128_000;
/** Uses of a tool of the provider where the caller sets no limit; the providers' own loops stop there. */
const DEFAULT_USES = 10;
/** A caller's `max_uses` beyond this is no limit. */
const MOST_USES = 100;

/** The model as far as it bounds a request. */
export interface Bounds {
  readonly price: Price;
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
}

export interface BeyondJudgement {
  /** The field, as the caller wrote it. */
  readonly path: string;
  readonly why: string;
}

export interface Reservation {
  readonly worstCasePicoUsd: bigint;
  /** Of the called model, over all choices. */
  readonly outputTokens: number;
}

export interface NamedBounds extends Bounds {
  readonly named: NamedDeployment["named"];
}

/** The most that the request can cost; exact integers, and the larger of two bounds wherever one is doubtful. */
export function reservationOf(facts: RequestFacts, called: Bounds, named: readonly NamedBounds[]): Reservation {
  const { choices } = facts;
  const uses = [...facts.serverTools, ...toolsOfServers(facts)].map((tool) => ({ tool, count: usesOf(tool) }));
  const isMeasured = facts.unmeasuredInputs.length === 0 && uses.every(({ tool }) => BRINGS_IN_NOTHING.test(tool.type));
  const loops = uses.reduce((sum, { count }) => sum + count, 0);
  const modifiers = alternatives(facts);
  const serve = (bounds: Bounds, limit: number | undefined, speeds: readonly UsageModifiers[]): bigint => {
    const window = bounds.contextTokens ?? MOST_CONTEXT_TOKENS;
    const context = facts.hasManyPrompts ? Math.max(window, facts.maxInputTokens) : window;
    const outputTokens = outputOf(bounds, limit, facts);
    const cost = (request: WorstCaseRequest): bigint => worstCasePicoUsd(bounds.price, { ...request, modifiers: speeds });
    const firstInput = isMeasured ? Math.min(facts.maxInputTokens, context) : context;
    // What was answered so far is read again.
    const laterInput = Math.min(firstInput + outputTokens, context);
    const first = cost({ inputTokens: firstInput, outputTokens: choices * outputTokens });
    const again = BigInt(choices * loops) * cost({ inputTokens: laterInput, outputTokens: 0 });
    const passes = BigInt(choices * facts.extraPasses.length * (loops + 1));
    return (
      first + again + (passes > 0n ? passes * cost({ inputTokens: laterInput, outputTokens: outputOf(bounds, undefined, undefined) }) : 0n)
    );
  };
  const fees = worstCasePicoUsd(called.price, { inputTokens: 0, outputTokens: 0, uses: feesOf(uses, choices) });
  const usesOfTool = countsByPath(uses);
  const beside = named.map((model) => besideCost(facts, model, usesOfTool, choices, serve, modifiers));
  return {
    worstCasePicoUsd: beside.reduce((sum, cost) => sum + cost, serve(called, facts.maxOutputTokens, modifiers) + fees),
    outputTokens: choices * outputOf(called, facts.maxOutputTokens, facts),
  };
}

type Serve = (bounds: Bounds, limit: number | undefined, speeds: readonly UsageModifiers[]) => bigint;

function besideCost(
  facts: RequestFacts,
  model: NamedBounds,
  usesOfTool: ReadonlyMap<string, number>,
  choices: number,
  serve: Serve,
  modifiers: readonly UsageModifiers[],
): bigint {
  const { named } = model;
  const own = named.speed === undefined ? modifiers : [...modifiers, ...combinations(askedOfNamed(facts, named))];
  if (named.role === "fallback") return serve(model, named.maxOutputTokens ?? facts.maxOutputTokens, own);
  const context = model.contextTokens ?? MOST_CONTEXT_TOKENS;
  const once = worstCasePicoUsd(model.price, {
    inputTokens: context,
    outputTokens: outputOf(model, named.maxOutputTokens, undefined),
    modifiers: own,
  });
  const times = usesOfTool.get(named.path.replace(/\.model$/, "")) ?? DEFAULT_USES;
  return BigInt(choices * times) * once;
}

interface Uses {
  readonly tool: ServerTool;
  readonly count: number;
}

function usesOf({ maxUses }: ServerTool): number {
  return maxUses === undefined ? DEFAULT_USES : Math.min(maxUses, MOST_USES);
}

/** How often each tool may be used, by its path; of two whose paths are cut to the same text the larger count holds for both. */
function countsByPath(uses: readonly Uses[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { tool, count } of uses) counts.set(tool.path, Math.max(count, counts.get(tool.path) ?? 0));
  return counts;
}

/** Tools that find other tools of the same body. */
const BRINGS_IN_NOTHING = /^tool_search/;

/** The tools of servers that the body names and lists no toolset for. */
function toolsOfServers(facts: RequestFacts): readonly ServerTool[] {
  if (facts.serverTools.some(({ type }) => type.startsWith("mcp"))) return [];
  return facts.unmeasuredInputs.filter(({ kind }) => kind === "mcp").map(({ path }) => ({ path, type: "mcp", maxUses: undefined }));
}

function outputOf(bounds: Bounds, limit: number | undefined, facts: RequestFacts | undefined): number {
  const most = bounds.maxOutputTokens ?? Math.min(MOST_OUTPUT_TOKENS, bounds.contextTokens ?? MOST_CONTEXT_TOKENS);
  return Math.min(limit ?? most, most) + Math.min(facts?.predictedOutputTokens ?? 0, bounds.contextTokens ?? MOST_CONTEXT_TOKENS);
}

/** Words that ask for what is served anyway. `auto` may be more at a provider that was paid in advance; its answer says so, and is billed. */
const STANDARD: ReadonlySet<string> = new Set(["auto", "default", "standard", "standard_only", "global", "not_available"]);

/** What the request asks for beyond the standard. */
function askedOf({ serviceTier, speed, geography }: Pick<RequestFacts, "serviceTier" | "speed" | "geography">): UsageModifiers {
  return { serviceTier: beyondStandard(serviceTier), speed: beyondStandard(speed), geography: beyondStandard(geography) };
}

/** The same of a model that is named beside, which may be asked for its own speed. */
function askedOfNamed(facts: RequestFacts, { speed }: NamedDeployment["named"]): UsageModifiers {
  return askedOf(speed === undefined ? facts : { ...facts, speed });
}

function beyondStandard(value: string | undefined): string | undefined {
  return value === undefined || STANDARD.has(value) ? undefined : value;
}

function alternatives(facts: RequestFacts): readonly UsageModifiers[] {
  return combinations(askedOf(facts));
}

/** Each of them asked for may be served or not. */
function combinations(asked: UsageModifiers): readonly UsageModifiers[] {
  const all = (Object.entries(asked) as [keyof UsageModifiers, string | undefined][]).filter(([, value]) => value !== undefined);
  return all.reduce<readonly UsageModifiers[]>((sets, [kind, value]) => [...sets, ...sets.map((set) => ({ ...set, [kind]: value }))], [{}]);
}

/** Tools whose uses are charged apart from tokens. Others cost tokens only. */
const FEE_OF_TOOL: readonly (readonly [RegExp, Fee])[] = [
  [/^web_search/, "webSearch"],
  [/^file_search/, "fileSearch"],
  [/^code_(?:execution|interpreter)/, "codeSession"],
];

function feeOf(type: string): Fee | undefined {
  return FEE_OF_TOOL.find(([pattern]) => pattern.test(type))?.[1];
}

function feesOf(uses: readonly Uses[], choices: number): FeeCounts {
  const counts: Partial<Record<Fee, number>> = {};
  for (const { tool, count } of uses) {
    const fee = feeOf(tool.type);
    if (fee) counts[fee] = (counts[fee] ?? 0) + choices * count;
  }
  return counts;
}

/** What the request can make the provider charge that has no price here, or that nobody can judge, each with its field. */
export function beyondJudgement(facts: RequestFacts, called: Bounds, named: readonly NamedBounds[]): readonly BeyondJudgement[] {
  const asked = askedOf(facts);
  const { price } = called;
  return [
    ...facts.unjudged.map(({ path, why }) => ({ path, why: WHY_UNJUDGED[why] })),
    ...unpricedModifiers(price, asked, facts.estimatedInputTokens).map(unpriced),
    ...named.flatMap((model) =>
      unpricedModifiers(model.price, askedOfNamed(facts, model.named), 0).map((text) => unpricedAt(model.named.path, text)),
    ),
    ...facts.serverTools.flatMap((tool) => {
      const fee = feeOf(tool.type);
      return fee !== undefined && price.fees[fee] === undefined
        ? [{ path: tool.path, why: `a use of ${tool.type.slice(0, 64)} has no price for this model` }]
        : [];
    }),
    ...(facts.audio.input && price.unlisted.includes("audioInputTokens")
      ? [{ path: "input_audio", why: "sound has no price for this model" }]
      : []),
    ...(facts.audio.output && price.unlisted.includes("audioOutputTokens")
      ? [{ path: "modalities", why: "sound has no price for this model" }]
      : []),
  ];
}

const WHY_UNJUDGED: Readonly<Record<RequestFacts["unjudged"][number]["why"], string>> = {
  provider_chooses_model: "it lets the provider choose the model",
  unknown_server_tool: "it is a tool of the provider that is not known here",
  unknown_field_names_model: "the field is not known here, and names a model",
  unknown_value: "its value is not known here",
};

/** `service_tier=priority` as `unpricedModifiers` spells it. */
function unpriced(text: string): BeyondJudgement {
  const [path = text, value = ""] = text.split("=");
  return { path, why: `"${value.slice(0, 64)}" has no price for this model` };
}

function unpricedAt(path: string, text: string): BeyondJudgement {
  return { path, why: `${text.slice(0, 96)} has no price for that model` };
}
