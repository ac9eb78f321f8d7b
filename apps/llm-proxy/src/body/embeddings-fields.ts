import type { FactCollector } from "./fact-collector.ts";
import type { Place } from "./place.ts";
import type { SeenObject } from "./seen-object.ts";
import { documented, judgeCommon, OPENAI_CONTENT } from "./spending-fields.ts";
import { FALLBACKS, UNKNOWN } from "./spending-rules.ts";

/** The body of OpenAI embeddings. What compatible servers take as media stands in `input` as parts of a chat do. */
export const EMBEDDINGS_FIELDS: Place = {
  isRoot: true,
  values: ["model", "stream", "user", "service_tier", "speed", "inference_geo", "fallbacks"],
  judgedWith: ["model"],
  judge: judgeEmbeddings,
  inside: {
    input: OPENAI_CONTENT,
    fallbacks: FALLBACKS,
    ...documented("model", "stream", "user", "service_tier", "speed", "inference_geo", "dimensions", "encoding_format"),
  },
  others: UNKNOWN,
};

/** Nothing is written; each input is a prompt of its own, so that the window of the model does not bound them together. */
function judgeEmbeddings(root: SeenObject, facts: FactCollector): void {
  judgeCommon(root, facts, {
    endUser: root.text("user"),
    reasoning: "off",
    choices: 1,
    maxOutputTokens: 0,
    predictedOutputTokens: 0,
    hasManyPrompts: true,
  });
}
