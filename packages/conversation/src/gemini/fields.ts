import { dropped, type Place, place, read, refused } from "../fields.ts";

/** Every field of a request of Gemini, and what becomes of it. */

const KEPT_AT_PROVIDER = "it is kept at the provider";
const OF_THIS_API = "no other API has it";
const RUN_BY_PROVIDER = "the provider runs it";
const OTHER_MODEL = "another model would answer";
const OTHER_OUTPUT = "answers are text alone";

/** The body itself. */
export const ROOT = place("", ["GenerateContentRequest"], {
  contents: read(),
  systemInstruction: read("system"),
  tools: read(),
  toolConfig: read(),
  generationConfig: read(),
  model: dropped("the path names the model"),
  safetySettings: dropped(OF_THIS_API),
  labels: dropped("they are kept nowhere"),
  serviceTier: read("serviceTier"),
  cachedContent: refused(KEPT_AT_PROVIDER),
  store: refused(KEPT_AT_PROVIDER, false),
  continuationToken: refused(KEPT_AT_PROVIDER),
});

/** `contents[]`, and `systemInstruction`. */
export const CONTENT = place("contents[]", ["Content"], { role: read(), parts: read() });

/** `contents[].parts[]`. */
export const PART = place("contents[].parts[]", ["Part"], {
  text: read(),
  thought: read(),
  thoughtSignature: read("thinking"),
  inlineData: read(),
  fileData: read(),
  functionCall: read("toolCall"),
  functionResponse: read("toolResult"),
  toolCall: refused(RUN_BY_PROVIDER),
  toolResponse: refused(RUN_BY_PROVIDER),
  executableCode: refused(RUN_BY_PROVIDER),
  codeExecutionResult: refused(RUN_BY_PROVIDER),
  audioTranscription: refused("sound is not translated"),
  videoMetadata: refused("videos are not translated"),
  mediaResolution: dropped(OF_THIS_API),
  mediaProcessing: dropped(OF_THIS_API),
  speechMetadata: dropped(OF_THIS_API),
  partMetadata: dropped(OF_THIS_API),
});

/** `contents[].parts[].inlineData`. */
export const INLINE = place("contents[].parts[].inlineData", ["Blob_2", "FunctionResponseBlob"], {
  mimeType: read(),
  data: read(),
  displayName: read("documentTitle"),
});

/** `contents[].parts[].fileData`. */
export const FILE = place("contents[].parts[].fileData", ["FileData", "FunctionResponseFileData"], {
  mimeType: read(),
  fileUri: read(),
  displayName: read("documentTitle"),
});

/** `contents[].parts[].functionCall`. */
export const CALL = place("contents[].parts[].functionCall", ["FunctionCall"], {
  id: read(),
  name: read(),
  args: read(),
  partialArgs: refused("calls are whole"),
  willContinue: refused("calls are whole", false),
});

/** `contents[].parts[].functionResponse`. */
export const RESULT = place("contents[].parts[].functionResponse", ["FunctionResponse"], {
  id: read(),
  name: read(),
  response: read(),
  parts: read(),
  scheduling: dropped(OF_THIS_API),
  willContinue: refused("results are whole", false),
});

/** `contents[].parts[].functionResponse.parts[]`. */
export const RESULT_PART = place("contents[].parts[].functionResponse.parts[]", ["FunctionResponsePart"], {
  inlineData: read("toolResultMedia"),
  fileData: read("toolResultMedia"),
  mediaProcessing: dropped(OF_THIS_API),
});

/** `tools[]`. */
export const TOOL = place("tools[]", ["Tool"], {
  functionDeclarations: read("tools"),
  googleSearch: refused(RUN_BY_PROVIDER),
  googleSearchRetrieval: refused(RUN_BY_PROVIDER),
  enterpriseWebSearch: refused(RUN_BY_PROVIDER),
  parallelAiSearch: refused(RUN_BY_PROVIDER),
  exaAiSearch: refused(RUN_BY_PROVIDER),
  googleMaps: refused(RUN_BY_PROVIDER),
  urlContext: refused(RUN_BY_PROVIDER),
  fileSearch: refused(RUN_BY_PROVIDER),
  retrieval: refused(RUN_BY_PROVIDER),
  codeExecution: refused(RUN_BY_PROVIDER),
  mcpServers: refused("the provider would call these servers", []),
  computerUse: refused("only the models of its API know it"),
});

/** `tools[].functionDeclarations[]`. */
export const FUNCTION = place("tools[].functionDeclarations[]", ["FunctionDeclaration"], {
  name: read(),
  description: read(),
  parameters: read(),
  parametersJsonSchema: read(),
  behavior: dropped(OF_THIS_API),
  response: dropped(OF_THIS_API),
  responseJsonSchema: dropped(OF_THIS_API),
});

/** A schema of Google's own form, wherever one stands: `parameters` and `responseSchema`. */
export const SCHEMA = place("(schema)", ["Schema"], {
  type: read(),
  format: read(),
  title: read(),
  description: read(),
  nullable: read(),
  enum: read(),
  default: read(),
  example: read(),
  items: read(),
  properties: read(),
  required: read(),
  anyOf: read(),
  pattern: read(),
  minimum: read(),
  maximum: read(),
  minItems: read(),
  maxItems: read(),
  minLength: read(),
  maxLength: read(),
  minProperties: read(),
  maxProperties: read(),
  propertyOrdering: dropped(OF_THIS_API),
});

/** `toolConfig`. */
export const TOOL_CONFIG = place("toolConfig", ["ToolConfig"], {
  functionCallingConfig: read("toolChoice"),
  retrievalConfig: dropped("no provider searches"),
  includeServerSideToolInvocations: refused(RUN_BY_PROVIDER, false),
});

/** `toolConfig.functionCallingConfig`. */
export const CALLING = place("toolConfig.functionCallingConfig", ["FunctionCallingConfig"], {
  mode: read(),
  allowedFunctionNames: read(),
  streamFunctionCallArguments: dropped("calls of a stream are whole"),
});

/** `generationConfig`. */
export const GENERATION = place("generationConfig", ["SentGenerationConfig"], {
  temperature: read("temperature"),
  topP: read("topP"),
  topK: read("topK"),
  maxOutputTokens: read("maxOutputTokens"),
  stopSequences: read("stop"),
  seed: read("seed"),
  presencePenalty: read("presencePenalty"),
  frequencyPenalty: read("frequencyPenalty"),
  responseMimeType: read(),
  responseSchema: read("schemaOutput"),
  responseJsonSchema: read("schemaOutput"),
  thinkingConfig: read(),
  candidateCount: refused("one answer is made", 1),
  responseLogprobs: refused("probabilities are not translated", false),
  logprobs: refused("probabilities are not translated", 0),
  responseModalities: refused(OTHER_OUTPUT, [], ["TEXT"]),
  responseFormat: refused(OTHER_OUTPUT, []),
  speechConfig: refused(OTHER_OUTPUT),
  imageConfig: refused(OTHER_OUTPUT),
  translationConfig: refused(OTHER_OUTPUT),
  audioTranscriptionConfig: refused("sound is not translated"),
  routingConfig: refused(OTHER_MODEL),
  modelSelectionConfig: refused(OTHER_MODEL),
  audioTimestamp: dropped("sound is not translated"),
  mediaResolution: dropped(OF_THIS_API),
  enableAffectiveDialog: dropped(OF_THIS_API),
  enableEnhancedCivicAnswers: dropped(OF_THIS_API),
});

/** `generationConfig.thinkingConfig`. */
export const THINKING = place("generationConfig.thinkingConfig", ["ThinkingConfig"], {
  includeThoughts: dropped("what is shown of thoughts is up to the provider"),
  thinkingBudget: read("reasoning"),
  thinkingLevel: read("reasoning"),
});

/** All of them, in the order of the documentation. */
export const PLACES: readonly Place[] = [
  ROOT,
  CONTENT,
  PART,
  INLINE,
  FILE,
  CALL,
  RESULT,
  RESULT_PART,
  TOOL,
  FUNCTION,
  SCHEMA,
  TOOL_CONFIG,
  CALLING,
  GENERATION,
  THINKING,
];

/** No part of a request is refused whole: what Google's tools are asked by are fields. */
export const REFUSED_TYPES: Readonly<Record<string, string>> = {};
