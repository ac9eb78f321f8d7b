import { type Codec, CODECS, type Fate, type Feature } from "@proliferate/conversation";
import { table } from "./markdown-table.ts";

const HEAD = `Where a caller speaks one API and the model is served in another, the request is read into one neutral conversation
([packages/conversation](../packages/conversation/README.md)), written for the provider, and the answer comes back the same way. Where both speak the same, bytes pass
untouched and nothing here applies. \`TRANSLATION=off\` switches it off: then such a model is 404 to that caller, the status on which clients stop.

- **What it costs** is what the provider counted, read in the provider's own dialect; the answer tells the caller the same tokens. Limits, holds, reservation and the spend row are as
  for every request: they go by the translated body. The row's \`call_type\` says what the caller spoke, \`metadata.served_call_type\` what the provider was asked in.
- **What is told**: \`x-gateway-translated-to\` names the dialect that the provider was asked in, \`x-gateway-dropped-fields\` what of the body goes no further,
  \`x-gateway-changed-fields\` what goes on in another value (a limit above what the model answers, arguments of a tool that are no object). Fields that no SDK knows are dropped and told, too;
  headers of the caller's API (\`anthropic-beta\`) go no further. A refused field is 400 \`not_translatable\` with its place.
- **Which API** a provider is asked in: the caller's own wherever it speaks that. OpenAI's own models are asked in Responses, because newer ones take tools and thoughts together there
  alone; servers at other addresses (\`api_base\`) in chats. \`model_info.supported_endpoints\` of a model bounds it (\`[/v1/chat/completions]\`): the first of the list is taken.
- **Thoughts** are signed by the model that had them and go back to it alone. On the way they stand where the caller's API keeps signatures: in a thinking block's \`signature\`, in
  \`reasoning_signatures\` of a chat message beside \`reasoning_content\`, in \`encrypted_content\` of a reasoning item, in \`thoughtSignature\` of a part. A caller that does not send them back goes on; where Claude demands them with a budget, the request
  goes without thinking, and \`x-gateway-dropped-fields\` says so.
- **Gemini** signs calls and words, too: such a signature travels as that of a hidden thought and comes back on the call that it was made for. A client that lost it is helped where Gemini 3 would refuse
  the call (Google's own \`skip_thought_signature_validator\`). Where it gives calls no ids, they get some for callers of other APIs, and results without ids answer the first call of their name. Fields are read in both of
  Google's spellings; rules of JSON Schema that Google does not take are told as \`tools: pattern\`.
- **Sampling**: Claude takes no temperature but 1 and no \`top_k\` beside thoughts, no \`top_p\` beside a temperature, and of 4.7 and later none of them; what it does not take is dropped.
- **Tools** whose names or ids a provider does not take (OpenAI: 64 and 40 characters) are called by a short one there, and by their own in the answer; so are tools of a
  namespace of Responses. A free-form tool (Codex' \`apply_patch\`) is one with a field \`input\` where an API takes objects alone, and its grammar stands in its description.
- **\`count_tokens\`** for a model of another API answers the estimate that admission goes by (four bytes a token, media by their measure), with \`x-gateway-estimated: input_tokens\`.
- **Errors** of the provider come in the caller's envelope with its status; Anthropic's 529 is 503 to OpenAI's clients. A prompt that does not fit is
  \`context_length_exceeded\` here and \`prompt is too long\` there, by which agents know it.
- **Bounds**: a translated body has 16 MB (413 above) and is as deep as every body may be (512); above 128 KB it is translated on a thread of its own. A whole answer has 8 MB, an event of
  a stream 8 MB; of a stream nothing but the unfinished event is held, and for a caller of Responses, whose last event repeats the answer, 8 MB of text at most.
- **Not in it**: searches and other tools that a provider runs, files and conversations that it keeps, sound, several answers (\`n\`) from Anthropic, probabilities. Embeddings are not translated.`;

/** docs/translation.md: what becomes of each field of each API, for each API that a model can be served in instead. */
export function translationPage(generated: string): string {
  return `${["# Between APIs", generated, "", HEAD, ...CODECS.flatMap(requestSection)].join("\n")}\n`;
}

function requestSection(codec: Codec): readonly string[] {
  const others = CODECS.filter((other) => other !== codec);
  const rows = codec.places.flatMap(({ path, fields }) =>
    Object.entries(fields).map(([name, fate]) => [
      `\`${path === "" ? name : `${path}.${name}`}\``,
      ...others.map((other) => fateText(fate, other)),
    ]),
  );
  const whole = Map.groupBy(Object.entries(codec.refusedTypes), ([, why]) => why);
  return [
    "",
    `## Requests of ${codec.name}`,
    "",
    ...table(["field", ...others.map(({ name }) => `served in ${name}`)], rows),
    "",
    ...[...whole].map(([why, types]) => `Refused whole, because ${why}: ${types.map(([type]) => `\`${type}\``).join(", ")}.\n`),
  ];
}

function fateText(fate: Fate, target: Codec): string {
  if (fate.fate === "refused") {
    const harmless = fate.unless.map((value) => `\`${JSON.stringify(value)}\``).join(" or ");
    return `refused: ${fate.why}${harmless === "" ? "" : `; ${harmless} passes`}`;
  }
  if (fate.fate === "dropped") return `dropped and told: ${fate.why}`;
  return fate.as === undefined ? "translated with what it is part of" : sayingText(fate.as, target);
}

function sayingText(feature: Feature, { sayings }: Codec): string {
  const saying = sayings[feature];
  if ("as" in saying) return `${saying.fate}: ${saying.as}`;
  return `${saying.fate === "refused" ? "refused" : "dropped and told"}: ${saying.why}`;
}
