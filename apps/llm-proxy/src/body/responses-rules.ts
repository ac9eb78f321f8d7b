import { AppError } from "@proliferate/shared/errors";
import type { FactCollector } from "./fact-collector.ts";
import { PROVIDER_TOOL_TOKENS } from "./input-tokens.ts";
import type { Place } from "./place.ts";
import { Kind, type SeenObject } from "./seen-object.ts";
import { judgeFileData, judgeUrl, linkedSound, nameModel } from "./spending-rules.ts";

/**
 * What is made of each kind of object of a Responses body that can spend. `responses-fields.ts` says where they stand.
 *
 * Whatever is named by an id is kept in the one account that the gateway has at the provider: earlier answers and their items,
 * conversations, prompts, files, vector stores, containers. Nobody here knows whose it is, so that one caller could read what is
 * another's: each such id is refused by name, whatever the operator allows.
 */

/** Throws `invalid_request`. */
function refuseKept(path: string): never {
  const param = path.slice(0, 128);
  throw new AppError("invalid_request", `${param} names something that is kept at the provider, and nobody's here: send what it holds.`, {
    param,
  });
}

/** What asks the provider to keep, or to go on from what is kept. Throws `invalid_request`. */
export function refuseWhatIsKept(root: SeenObject): void {
  for (const name of ["previous_response_id", "conversation", "prompt"]) if (root.has(name)) refuseKept(name);
  refuseTrue(root, "background", "an answer cannot be fetched later");
  refuseTrue(root, "store", "answers are not kept for callers; send false, and the whole conversation each time");
}

function refuseTrue(root: SeenObject, name: string, why: string): void {
  const { kind } = root.value(name);
  if (kind === Kind.absent || kind === Kind.null || kind === Kind.false) return;
  const problem = kind === Kind.true ? `${name} is not served here: ${why}.` : `${name} must be true or false.`;
  throw new AppError("invalid_request", problem, { param: name });
}

/** The limit of the uses of all tools together; undefined where none is set. Throws `invalid_request` on one that is no number. */
export function toolUsesOf(root: SeenObject): number | undefined {
  if (root.has("max_tool_calls") && root.value("max_tool_calls").kind !== Kind.number)
    throw new AppError("invalid_request", "max_tool_calls must be a number.", { param: "max_tool_calls" });
  return root.limit("max_tool_calls");
}

/** Tools that the caller runs, or that only describe others. */
const CLIENT_TOOL = /^(?:function|custom|namespace|local_shell|apply_patch|computer|computer_use_preview)$/;
/** Tools that the provider runs. The preview of the search has another fee with some models, so it is not among them. */
const SERVER_TOOL = /^(?:web_search(?:_\d{4}_\d{2}_\d{2})?|code_interpreter|mcp|tool_search)$/;

/** A tool of the body, of a namespace or of an item. */
export const RESPONSES_TOOL: Place = {
  isExact: true,
  values: ["type", "model", "environment", "container", "vector_store_ids", "tunnel_id", "file_ids"],
  judge: judgeTool,
};

function judgeTool(tool: SeenObject, facts: FactCollector): void {
  for (const name of ["vector_store_ids", "tunnel_id", "file_ids"]) if (tool.has(name)) refuseKept(tool.pathOf(name));
  if (tool.value("container").kind === Kind.string) refuseKept(tool.pathOf("container"));
  if (tool.has("model")) nameModel(tool, facts, "advisor", tool.text("model"));
  if (!tool.has("type")) return;
  const type = tool.text("type") ?? "";
  if (CLIENT_TOOL.test(type)) return facts.added(/^(?:function|custom|namespace)$/.test(type) ? 0 : PROVIDER_TOOL_TOKENS);
  facts.added(PROVIDER_TOOL_TOKENS);
  // Without an environment, or with a local one (`ENVIRONMENT`), the caller runs the shell.
  if (type === "shell" && (!tool.has("environment") || tool.value("environment").kind === Kind.object)) return;
  if (SERVER_TOOL.test(type)) facts.serverTool({ path: tool.path(), type, maxUses: undefined });
  else facts.unjudged({ path: tool.path(), why: "unknown_server_tool" });
}

/** Where a shell runs. */
export const ENVIRONMENT: Place = {
  isExact: true,
  values: ["type", "container_id", "file_ids"],
  judge: (environment, facts) => {
    for (const name of ["container_id", "file_ids"]) if (environment.has(name)) refuseKept(environment.pathOf(name));
    if (environment.text("type") !== "local") facts.unjudged({ path: environment.path(), why: "unknown_server_tool" });
  },
};

/** Where the provider runs code: one that is made for the request. Larger ones cost more. */
export const CONTAINER: Place = {
  isExact: true,
  values: ["type", "file_ids", "memory_limit"],
  judge: (container, facts) => {
    if (container.has("file_ids")) refuseKept(container.pathOf("file_ids"));
    const memory = container.text("memory_limit");
    if (container.has("memory_limit") && memory !== "1g") facts.unjudged({ path: container.pathOf("memory_limit"), why: "unknown_value" });
  },
};

/** How the provider caches; the answer that it is to compare with is kept. */
export const PROMPT_CACHE_OPTIONS: Place = {
  isExact: true,
  values: ["comparison_response_id"],
  judge: (options) => {
    if (options.has("comparison_response_id")) refuseKept(options.pathOf("comparison_response_id"));
  },
};

/** An item of the input, as far as it is no content: a reference to one that is kept, and what makes the model run once more. */
export function judgeItem(item: SeenObject, facts: FactCollector): void {
  const type = item.text("type");
  const isNamedAlone = !item.has("type") && item.has("id") && !item.has("role");
  if (type === "item_reference" || isNamedAlone) refuseKept(item.has("id") ? item.pathOf("id") : item.path());
  if (type === "compaction_trigger") facts.extraPass({ path: item.path(), type });
}

/** Parts whose media are measured by their own rules, and text. */
const MEASURED_PART = /^(?:input_(?:text|image|file|audio)|computer_screenshot)$/;
/** Other parts that are media by their type, as servers call them. */
const MEDIA_PART = /^input_|^(?:image|video|audio|document|file|pdf|media)$|_url$/;

/** Media in a part of an item, or in an item. A part of a type that means media and that is not known here may fetch them from anywhere. */
export function judgeResponsesPart(part: SeenObject, facts: FactCollector): void {
  if (part.has("file_id")) refuseKept(part.pathOf("file_id"));
  for (const name of ["image_url", "file_url"]) judgeUrl(part, name, facts);
  judgeFileData(part, facts);
  if (part.value("input_audio").kind === Kind.string) linkedSound(part.pathOf("input_audio"), facts);
  const type = part.text("type");
  if (type !== undefined && MEDIA_PART.test(type) && !MEASURED_PART.test(type))
    facts.unmeasured({ path: part.pathOf("type"), kind: "url" });
}
