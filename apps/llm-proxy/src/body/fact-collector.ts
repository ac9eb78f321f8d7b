import { AppError } from "@proliferate/shared/errors";
import type { AskedInPath } from "@proliferate/conversation";
import type { ExtraPass, NamedModel, RequestFacts, ServerTool, Unjudged, UnmeasuredInput } from "./request-facts.ts";
import { type Media, textTokens } from "./input-tokens.ts";
import type { SeenValue } from "./seen-object.ts";

/** More than this is no request; a list that was cut would be a fact that is missing. */
const MOST_FACTS = 4_096;
/** Of models that are named, and of what cannot be judged: each is looked up, priced and reserved by itself. */
const MOST_PRICED_APART = 64;
const MOST_UNKNOWN_FIELDS = 16;

/** What the body itself says, judged when it ended. */
type RootFacts = Pick<
  RequestFacts,
  | "model"
  | "stream"
  | "reasoning"
  | "endUser"
  | "maxOutputTokens"
  | "choices"
  | "hasManyPrompts"
  | "serviceTier"
  | "speed"
  | "geography"
  | "predictedOutputTokens"
>;

/** Where the bytes are that the provider gets differently. */
export interface EditableFields {
  model: SeenValue | undefined;
  streamOptions: SeenValue | undefined;
  includeUsage: SeenValue | undefined;
  /** Position of the closing brace of the body. */
  closingBrace: number;
}

/** Gathers what the scanner sees into {@link RequestFacts}. */
export class FactCollector {
  readonly positions: EditableFields = { model: undefined, streamOptions: undefined, includeUsage: undefined, closingBrace: 0 };
  /** Of places that end before the body does. */
  endUser: string | undefined;
  reasoning: RequestFacts["reasoning"];
  /** The caller's limit of one answer, and how many are made, where a place within the body says it. */
  maxOutputTokens: number | undefined;
  choices = 1;
  /** What the path of the request says in place of its body; undefined where the body has to say it. */
  readonly inPath: AskedInPath | undefined;
  readonly #unmeasuredInputs: UnmeasuredInput[] = [];
  readonly #namedModels: NamedModel[] = [];
  readonly #serverTools: ServerTool[] = [];
  readonly #extraPasses: ExtraPass[] = [];
  readonly #unjudged: Unjudged[] = [];
  readonly #unknownFields: string[] = [];
  readonly #counts: Record<string, number> = {};
  readonly #bodyBytes: number;
  #root: RootFacts | undefined;
  #count = 0;
  #textBytes = 0;
  #mediaSentBytes = 0;
  #mediaTokens = 0;
  #mostMediaTokens = 0;
  /** Tokens that a provider puts in on its own. */
  #addedTokens = 0;
  #hasOtherLimit = false;
  #mostUses = Infinity;
  #audioInput = false;
  #audioOutput = false;

  constructor(bodyBytes: number, inPath?: AskedInPath) {
    this.#bodyBytes = bodyBytes;
    this.inPath = inPath;
  }

  /** A name or a string of so many bytes. */
  countText(bytes: number): void {
    this.#textBytes += bytes;
  }

  /** A number, `true`, `false` or `null`. */
  countScalar(): void {
    this.#textBytes += SCALAR_BYTES;
  }

  /** A string that was counted as text and is none. */
  media(size: { readonly sent: number; readonly read: number }, media: Media): void {
    this.#textBytes -= size.read;
    this.#mediaSentBytes += size.sent;
    this.#mediaTokens += media.tokens;
    this.#mostMediaTokens += media.mostTokens;
  }

  /** One more of what a meter counts; the rules of a dialect call it where they see one. */
  count(name: string): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
  }

  added(tokens: number): void {
    this.#addedTokens += tokens;
  }

  audio(direction: "input" | "output"): void {
    if (direction === "input") this.#audioInput = true;
    else this.#audioOutput = true;
  }

  unmeasured(input: UnmeasuredInput): void {
    this.#unmeasuredInputs.push(this.#bounded(input));
  }

  namedModel(model: NamedModel): void {
    if (this.#namedModels.length >= MOST_PRICED_APART)
      throw new AppError("invalid_request", `The body names more than ${MOST_PRICED_APART} models.`);
    this.#namedModels.push(this.#bounded(model));
  }

  serverTool(tool: ServerTool): void {
    this.#serverTools.push(this.#bounded(tool));
  }

  /** The caller's limit of the uses of all tools together, which bounds each of them; undefined where none is set. */
  limitUses(most: number | undefined): void {
    this.#mostUses = most ?? Infinity;
  }

  extraPass(pass: ExtraPass): void {
    this.#extraPasses.push(this.#bounded(pass));
  }

  unjudged(unjudged: Unjudged): void {
    if (this.#unjudged.length >= MOST_PRICED_APART)
      throw new AppError("invalid_request", `The body has more than ${MOST_PRICED_APART} fields of which nobody can say what they cost.`);
    this.#unjudged.push(this.#bounded(unjudged));
  }

  /** A field of the body that no dialect documents. One that is named after a model may make the provider call it. */
  unknownRootField(name: string): void {
    if (/model/i.test(name)) this.unjudged({ path: name, why: "unknown_field_names_model" });
    if (OTHER_LIMIT.test(name)) this.#hasOtherLimit = true;
    if (OTHER_COUNT.test(name)) this.unjudged({ path: name, why: "unknown_value" });
    if (this.#unknownFields.length < MOST_UNKNOWN_FIELDS) this.#unknownFields.push(name);
  }

  root(facts: RootFacts): void {
    this.#root = facts;
  }

  /** Throws `invalid_request` when the body said nothing that a request of its dialect says. */
  facts(): RequestFacts {
    if (!this.#root && this.inPath) throw new AppError("invalid_request", "The body has no contents.", { param: "contents" });
    if (!this.#root) throw new AppError("invalid_request", "model must be the name of a model.", { param: "model" });
    return {
      ...this.#root,
      maxOutputTokens: this.#hasOtherLimit ? undefined : this.#root.maxOutputTokens,
      estimatedInputTokens: textTokens(this.#textBytes, this.#mediaTokens),
      maxInputTokens: this.#bodyBytes - this.#mediaSentBytes + this.#mostMediaTokens + this.#addedTokens,
      unmeasuredInputs: this.#unmeasuredInputs,
      namedModels: this.#namedModels,
      serverTools: Number.isFinite(this.#mostUses)
        ? this.#serverTools.map((tool) => ({ ...tool, maxUses: Math.min(tool.maxUses ?? Infinity, this.#mostUses) }))
        : this.#serverTools,
      extraPasses: this.#extraPasses,
      unjudged: this.#unjudged,
      audio: { input: this.#audioInput, output: this.#audioOutput },
      counts: this.#counts,
      unknownFields: this.#unknownFields,
    };
  }

  #bounded<Fact>(fact: Fact): Fact {
    this.#count += 1;
    if (this.#count > MOST_FACTS)
      throw new AppError("invalid_request", `The body names more than ${MOST_FACTS} files, links, tools and models.`);
    return fact;
  }
}

/** Limits of the output by names of other servers (`max_output_tokens`, `max_new_tokens`, `num_predict`): which one holds nobody says, so none does. */
const OTHER_LIMIT = /max.*(?:tokens?|length)|num_predict/i;
/** Names under which other servers are told how many answers to make, or given any field of the body once more. */
const OTHER_COUNT = /^(?:num_return_sequences|candidate_?count|n(?:um)?_(?:choices|completions|generations|samples)|extra_body)$/i;

/** What a number or a word counts as text. */
const SCALAR_BYTES = 4;
