import type { CallIds } from "../call-ids.ts";
import type { DocumentPart, Part, ResultPart, Source, ThinkingPart, ToolResultPart, Turn } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import { type Notes, notTranslatable } from "../notes.ts";
import type { SafeNames } from "../safe-names.ts";
import { OPENAI_RESPONSES } from "./name.ts";

/** What items are written with. */
interface ItemWriter {
  readonly notes: Notes;
  readonly ids: CallIds;
  readonly names: SafeNames;
  /** Calls of free-form tools, by their ids: their results are items of another type, which not every dialect knows. */
  readonly freeformCalls: Set<string>;
}

/** The items of a turn, in their order; words that follow each other are one message. */
export function writeTurn(writer: ItemWriter, { role, parts }: Turn): readonly JsonObject[] {
  const items: JsonObject[] = [];
  let content: JsonObject[] = [];
  const end = (): void => {
    if (content.length > 0) items.push({ type: "message", role, content });
    content = [];
  };
  for (const part of parts) {
    const item = writeAsItem(writer, part);
    if (item === undefined) content.push(...writeContent(writer, part, role === "assistant"));
    else {
      end();
      items.push(...item);
    }
  }
  end();
  return items;
}

/** Undefined for what is part of a message. */
function writeAsItem(writer: ItemWriter, part: Part): readonly JsonObject[] | undefined {
  switch (part.kind) {
    case "thinking":
      return writeThought(part, writer.notes);
    case "toolCall": {
      const [call_id, name] = [writer.ids.ofCall(part), writer.names.of(part.name)];
      if (!part.isFreeform) return [{ type: "function_call", call_id, name, arguments: part.input === "" ? "{}" : part.input }];
      writer.freeformCalls.add(call_id);
      return [{ type: "custom_tool_call", call_id, name, input: part.input }];
    }
    case "toolResult": {
      const call_id = writer.ids.ofResult(part);
      const isFreeform = part.isFreeform ?? writer.freeformCalls.has(call_id);
      return [{ type: isFreeform ? "custom_tool_call_output" : "function_call_output", call_id, output: writeOutput(writer, part) }];
    }
    default:
      return undefined;
  }
}

/** A thought goes back to whoever signed it. */
function writeThought({ text, signature }: ThinkingPart, notes: Notes): readonly JsonObject[] {
  if (signature?.origin !== OPENAI_RESPONSES || signature.value === "") {
    notes.dropFeature("thinking");
    return [];
  }
  const summary = text === "" ? [] : [{ type: "summary_text", text }];
  return [present({ type: "reasoning", id: signature.id, summary, encrypted_content: signature.value })];
}

/** There is no sign of it. */
const TOOL_FAILED = "The tool failed:";

function writeOutput(writer: ItemWriter, { content, isError }: ToolResultPart): unknown {
  const said: readonly ResultPart[] = isError ? [{ kind: "text", text: TOOL_FAILED }, ...content] : content;
  const [first, ...others] = said;
  if (others.length === 0 && (!first || first.kind === "text")) return first?.text ?? "";
  return said.flatMap((part) => writeContent(writer, part, false));
}

function writeContent({ notes }: ItemWriter, part: Part, isOutput: boolean): readonly JsonObject[] {
  switch (part.kind) {
    case "text":
      return part.text === ""
        ? []
        : [isOutput ? { type: "output_text", text: part.text, annotations: [] } : { type: "input_text", text: part.text }];
    case "refusal":
      return [isOutput ? { type: "refusal", refusal: part.text } : { type: "input_text", text: part.text }];
    case "image":
      return [{ type: "input_image", image_url: urlOf(part.source), detail: part.detail ?? "auto" }];
    case "document":
      return writeDocument(part);
    default:
      throw notTranslatable(notes.placeOf("audio"), "sound is not translated");
  }
}

function writeDocument({ source, title, context }: DocumentPart): readonly JsonObject[] {
  if (source.kind === "text") {
    const text = [title, context, source.text].filter((one) => one !== undefined).join("\n");
    return [{ type: "input_text", text }];
  }
  const before = context === undefined ? [] : [{ type: "input_text", text: context }];
  if (source.kind === "url") return [...before, present({ type: "input_file", file_url: source.url, filename: title })];
  return [...before, { type: "input_file", filename: title ?? "document.pdf", file_data: urlOf(source) }];
}

function urlOf(source: Source): string {
  return source.kind === "url" ? source.url : `data:${source.mediaType};base64,${source.data}`;
}
