import { Worker } from "node:worker_threads";
import { type AskedInPath, type Codec, type Target, translateRequest, type TranslatedRequest } from "@proliferate/conversation";
import type { Stoppable } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import type { TranslationAnswer, TranslationTask } from "./translation-worker.ts";

/** A larger body is not translated: it becomes a tree, and a body again. Images and files of a conversation are in it. */
const MOST_TRANSLATED_BYTES = 16 * 1024 * 1024;
/** Up to this size a body is translated at once: two milliseconds of an agent, five where it is all structure. */
const AT_ONCE_BYTES = 128 * 1024;
/** What trees of the largest body may take of memory: 16 MB in which every third byte is a value. */
const WORKER_MEMORY_MB = 1_024;

/** Throws `request_too_large` for a body that is too large to be translated. */
export function requireTranslatable(bytes: number): void {
  if (bytes <= MOST_TRANSLATED_BYTES) return;
  const most = MOST_TRANSLATED_BYTES / 1024 / 1024;
  throw new AppError("request_too_large", `A body that is translated for its model's API has ${most} MB at most; this one has more.`);
}

/** A translated request as bytes. */
export type TranslatedBody = Omit<TranslatedRequest, "body"> & { readonly bytes: Buffer };

interface Waiting {
  readonly done: (body: TranslatedBody) => void;
  readonly fail: (error: Error) => void;
}

/**
 * Translates bodies of requests. Large ones on a thread of their own, one after the other, so that no body keeps the process from its other
 * requests; the thread begins with the first of them. One a process.
 */
export class Translator implements Stoppable {
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #tasks = 0;

  /** The bytes are a JSON object, as deep as the scanner of bodies allows. {@link requireTranslatable} was asked. `inPath`: what the caller's path says in place of the body. Throws `invalid_request` and `not_translatable`. */
  async translate(bytes: Buffer, from: Codec, to: Codec, target: Target, inPath?: AskedInPath): Promise<TranslatedBody> {
    if (bytes.length > AT_ONCE_BYTES) return this.#onThread(bytes, from, to, target, inPath);
    const { body, ...rest } = translateRequest(bytes.toString("utf8"), from, to, target, inPath);
    return { ...rest, bytes: Buffer.from(body) };
  }

  async stop(): Promise<void> {
    await this.#worker?.terminate();
  }

  async #onThread(bytes: Buffer, from: Codec, to: Codec, target: Target, inPath: AskedInPath | undefined): Promise<TranslatedBody> {
    const worker = (this.#worker ??= this.#begin());
    const id = (this.#tasks += 1);
    // A copy, which is handed over: the body may lie in a pool.
    const own = Uint8Array.from(bytes);
    const task: TranslationTask = { id, bytes: own, from: from.name, to: to.name, target, inPath };
    return new Promise<TranslatedBody>((done, fail) => {
      this.#waiting.set(id, { done, fail });
      worker.postMessage(task, [own.buffer]);
    });
  }

  #begin(): Worker {
    const worker = new Worker(new URL("translation-worker.ts", import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: WORKER_MEMORY_MB },
      // It reads no variables: keys of providers are in them.
      env: {},
    });
    worker.unref();
    worker.on("message", (answer: TranslationAnswer) => this.#take(answer));
    const end = (): void => {
      if (this.#worker === worker) this.#worker = undefined;
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      for (const { fail } of waiting)
        fail(new AppError("gateway_busy", "The body needs more memory than its translation may take.", { retryAfterSeconds: 1 }));
    };
    worker.on("error", end);
    worker.on("exit", end);
    return worker;
  }

  #take(answer: TranslationAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("error" in answer) {
      const { code, message, param } = answer.error;
      waiting?.fail(new AppError(code, message, param === undefined ? {} : { param }));
    } else waiting?.done({ ...answer.body, bytes: Buffer.from(answer.bytes.buffer, answer.bytes.byteOffset, answer.bytes.byteLength) });
  }
}
