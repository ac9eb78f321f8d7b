import { AppError } from "@proliferate/shared/errors";
import type { FactCollector } from "./fact-collector.ts";
import { documentTokens, imageTokens, MOST_IMAGE_TOKENS, soundTokens, TOOL_PROMPT_TOKENS } from "./input-tokens.ts";
import type { Place } from "./place.ts";
import { Kind, type SeenObject } from "./seen-object.ts";
import { documented } from "./spending-fields.ts";
import { UNKNOWN } from "./spending-rules.ts";

/**
 * The body of Gemini's `generateContent`. Google reads each name in two spellings, `maxOutputTokens` and `max_output_tokens`; both are known here, and a
 * body that has both is refused, as nobody says which one holds.
 */

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const spellings = (...names: readonly string[]): readonly string[] => [...new Set(names.flatMap((name) => [name, snake(name)]))];
const leading = (place: Place, ...names: readonly string[]): Readonly<Record<string, Place>> =>
  Object.fromEntries(spellings(...names).map((name) => [name, place]));

const NOTHING: Place = {};

/** The spelling in which a field was given; throws `invalid_request` where it was in both. */
function spelled(object: SeenObject, name: string): string {
  const [first = name, second] = spellings(name).filter((one) => object.value(one).kind !== Kind.absent);
  if (second === undefined) return first;
  const param = object.pathOf(second).slice(0, 128);
  throw new AppError("invalid_request", `The body has ${name} in both of its spellings; nobody says which one counts.`, { param });
}

function has(object: SeenObject, name: string): boolean {
  return object.has(spelled(object, name));
}

/** Bytes in the body. */
const INLINE_DATA: Place = {
  isExact: true,
  values: spellings("mimeType", "data"),
  judgedWith: ["data"],
  judge: (blob, facts) => {
    const type = blob.text(spelled(blob, "mimeType")) ?? "";
    const size = blob.sizeOf("data");
    if (type.startsWith("image/")) return facts.media(size, imageTokens(size.read, MOST_IMAGE_TOKENS.gemini));
    // A film is heard, too.
    if (/^(?:audio|video)\//.test(type)) facts.audio("input");
    if (type.startsWith("audio/")) return facts.media(size, soundTokens(size.read));
    facts.media(size, documentTokens(size.read));
    facts.unmeasured({ path: blob.pathOf("data"), kind: "document" });
  },
};

/** A link. One to a file that is kept at the provider leads to somebody's file in the one account that the gateway has there. */
const FILE_DATA: Place = {
  isExact: true,
  values: spellings("fileUri", "mimeType"),
  judgedWith: spellings("fileUri"),
  judge: (file, facts) => {
    const name = spelled(file, "fileUri");
    if (!file.has(name)) return;
    const path = file.pathOf(name);
    const uri = file.text(name) ?? "";
    if (!/^https?:\/\//i.test(uri) || /(?:^|[./])googleapis\.com(?:[:/]|$)|\/files\//i.test(uri)) throw kept(path);
    // Whatever it is: a film is heard.
    facts.audio("input");
    facts.unmeasured({ path, kind: "url" });
  },
};

const FUNCTION_RESPONSE: Place = {
  isExact: true,
  inside: {
    ...leading(NOTHING, "response", "willContinue"),
    get parts(): Place {
      return CONTENT;
    },
  },
};

/** Contents, their parts, and the media in them. */
const CONTENT: Place = {
  isExact: true,
  inside: {
    ...leading(INLINE_DATA, "inlineData"),
    ...leading(FILE_DATA, "fileData"),
    ...leading(FUNCTION_RESPONSE, "functionResponse"),
    // The model's own words, and what its tools found: text by now.
    ...leading(NOTHING, "functionCall", "executableCode", "codeExecutionResult", "toolCall", "toolResponse", "partMetadata"),
  },
  get elements(): Place {
    return CONTENT;
  },
  get others(): Place {
    return CONTENT;
  },
};

/** Tools that the provider runs. What they cost stands in no usage, so none of them is judged; nor is one that nobody knows. */
const TOOL: Place = {
  inside: leading(NOTHING, "functionDeclarations"),
  judgeOther: (path, facts) => facts.unjudged({ path, why: "unknown_server_tool" }),
};

const THINKING: Place = {
  isExact: true,
  values: spellings("thinkingBudget", "thinkingLevel", "includeThoughts"),
  judge: (thinking, facts) => {
    const budget = thinking.value(spelled(thinking, "thinkingBudget"));
    facts.reasoning =
      budget.kind === Kind.number && budget.end - budget.start === 1 && thinking.limit(spelled(thinking, "thinkingBudget")) === undefined
        ? "off"
        : "on";
  },
};

/** Sound and images that are made have prices of their own. */
const MODALITIES: Place = {
  judgeElement: ({ path, text }, facts) => {
    if (!/^(?:TEXT|MODALITY_UNSPECIFIED)$/i.test(text ?? "")) facts.unjudged({ path, why: "unknown_value" });
  },
};

/** Fields of the configuration that decide over no cost. */
const CONFIG = ["audioTimestamp", "frequencyPenalty", "imageConfig", "logprobs", "mediaResolution", "presencePenalty", "responseFormat"];
const MORE_CONFIG = [
  "responseJsonSchema",
  "_responseJsonSchema",
  "responseLogprobs",
  "responseMimeType",
  "responseSchema",
  "seed",
  "speechConfig",
];
const REST_OF_CONFIG = ["stopSequences", "temperature", "topK", "topP", "enableEnhancedCivicAnswers"];

const GENERATION_CONFIG: Place = {
  isExact: true,
  values: spellings("maxOutputTokens", "candidateCount", "responseModalities", "thinkingConfig"),
  judge: judgeConfig,
  inside: {
    ...leading(THINKING, "thinkingConfig"),
    ...leading(MODALITIES, "responseModalities"),
    ...leading(NOTHING, ...CONFIG, ...MORE_CONFIG, ...REST_OF_CONFIG),
    ...leading(NOTHING, "maxOutputTokens", "candidateCount"),
  },
  // Another model, another voice, another language: whatever it is, nobody here knows what it costs.
  judgeOther: (path, facts) => facts.unjudged({ path, why: "unknown_value" }),
};

function judgeConfig(config: SeenObject, facts: FactCollector): void {
  for (const name of ["thinkingConfig", "responseModalities"]) spelled(config, name);
  facts.maxOutputTokens = config.limit(spelled(config, "maxOutputTokens"));
  const count = spelled(config, "candidateCount");
  if (!config.has(count)) return;
  if (config.value(count).kind !== Kind.number)
    throw new AppError("invalid_request", "candidateCount must be a number.", { param: config.pathOf(count).slice(0, 128) });
  facts.choices = Math.max(1, config.limit(count) ?? 1);
}

/** What is refused by name, as nobody here knows whose it is, or which model it means. */
const KEPT = ["cachedContent", "continuationToken"] as const;
const ROOT = [
  ...KEPT,
  "serviceTier",
  "generateContentRequest",
  "generationConfig",
  "systemInstruction",
  "toolConfig",
  "safetySettings",
] as const;

/** The body of Gemini. */
export const GEMINI_FIELDS: Place = {
  isRoot: true,
  values: ["contents", "model", "stream", "tools", ...spellings(...ROOT)],
  judge: judgeGemini,
  inside: {
    contents: CONTENT,
    tools: { ...TOOL, elements: TOOL },
    ...leading(CONTENT, "systemInstruction"),
    ...leading(GENERATION_CONFIG, "generationConfig"),
    ...leading(NOTHING, "safetySettings", "toolConfig", "labels", "store", "modelArmorConfig"),
    ...documented("model", "stream", ...spellings("serviceTier", "generateContentRequest", ...KEPT)),
  },
  others: UNKNOWN,
};

function judgeGemini(root: SeenObject, facts: FactCollector): void {
  const { inPath } = facts;
  if (inPath === undefined) throw new Error("The path of this API says the model.");
  for (const name of ["model", "stream"] as const) {
    if (root.value(name).kind !== Kind.absent)
      throw new AppError("invalid_request", `${name} stands in the path of this API, and not in the body.`, { param: name });
  }
  for (const name of ROOT) spelled(root, name);
  for (const name of KEPT) if (has(root, name)) throw kept(spelled(root, name));
  if (has(root, "generateContentRequest"))
    throw new AppError("invalid_request", "generateContentRequest names a model of its own; send contents instead.", {
      param: spelled(root, "generateContentRequest"),
    });
  const tier = spelled(root, "serviceTier");
  if (root.has(tier) && !/^(?:service_tier_)?(?:standard|unspecified)$/i.test(root.text(tier) ?? ""))
    facts.unjudged({ path: tier, why: "unknown_value" });
  if (root.has("tools")) facts.added(TOOL_PROMPT_TOKENS);
  facts.root({
    model: inPath.model,
    stream: inPath.isStream,
    endUser: undefined,
    reasoning: facts.reasoning,
    choices: facts.choices,
    maxOutputTokens: facts.maxOutputTokens,
    predictedOutputTokens: 0,
    serviceTier: undefined,
    speed: undefined,
    geography: undefined,
  });
}

function kept(param: string): AppError {
  const message = `${param.slice(0, 128)} refers to what is kept at the provider, where nobody knows whose it is; send it in the request.`;
  return new AppError("invalid_request", message, { param: param.slice(0, 128) });
}
