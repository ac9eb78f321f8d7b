import { parentPort } from "node:worker_threads";
import { type AskedInPath, findCodec, type Target, translateRequest, type TranslatedRequest } from "@proliferate/conversation";
import { type ErrorCode, isAppError } from "@proliferate/shared/errors";

/** A body to be translated; codecs by their names. */
export interface TranslationTask {
  readonly id: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly from: string;
  readonly to: string;
  readonly target: Target;
  readonly inPath: AskedInPath | undefined;
}

/** The translated body, or why it cannot be. */
export type TranslationAnswer =
  | { readonly id: number; readonly bytes: Uint8Array<ArrayBuffer>; readonly body: Omit<TranslatedRequest, "body"> }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string; readonly param: string | undefined } };

parentPort?.on("message", (task: TranslationTask) => {
  const answer = answerTo(task);
  parentPort?.postMessage(answer, "bytes" in answer ? [answer.bytes.buffer] : []);
});

function answerTo({ id, bytes, from, to, target, inPath }: TranslationTask): TranslationAnswer {
  try {
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
    const { body, ...rest } = translateRequest(text, findCodec(from), findCodec(to), target, inPath);
    return { id, bytes: new TextEncoder().encode(body), body: rest };
  } catch (error) {
    if (!isAppError(error))
      return { id, error: { code: "internal_error", message: "The body could not be translated.", param: undefined } };
    return { id, error: { code: error.code, message: error.message, param: error.param } };
  }
}
