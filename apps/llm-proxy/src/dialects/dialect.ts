import type { IncomingHttpHeaders } from "node:http";
import type { AskedInPath, Codec } from "@proliferate/conversation";
import type { Search, StreamUsageReader, UsageReading } from "@proliferate/metering/usage";
import type { AppError, Refusal } from "@proliferate/shared/errors";
import type { ModelListing } from "./model-listing.ts";
import type { Edit } from "../body/edits.ts";
import type { CompiledPlace } from "../body/place.ts";
import type { RequestBody } from "../body/request-body.ts";

/** Whose clients speak a dialect: the envelope of an error, its types, and what a client makes of a status go by it. */
type ClientFamily = "anthropic" | "openai" | "google";

/** A route of a dialect. `answer` is admitted, metered and billed; `count_tokens` is free. */
export interface DialectRoute {
  readonly kind: "answer" | "count_tokens";
  /** The path at the provider, behind its API base. `{model}` in it stands for the model as the provider names it. */
  readonly upstreamPath: string;
  /** What the path needs behind it; a caller of the dialect writes it itself. Default: nothing. */
  readonly upstreamQuery?: string;
  /** Where the path says it, and no field of the body: whether the answer is a stream. Default: the body says it. */
  readonly isStream?: boolean;
}

/** What a request says that its answer's bill depends on, and the answer does not repeat. */
export interface Asked {
  /** Searches that usage does not count. */
  readonly search?: Search | undefined;
  /** How many answers were asked for. Default 1. */
  readonly choices?: number;
}

/** What a reader of streams has to know of the request. */
interface StreamReaderOptions extends Asked {
  /** The proxy asked for the event that counts, and the caller did not: the caller must not get it. */
  readonly dropUsageChunk: boolean;
}

/** What is left of a limit; amounts are exact decimals. */
export interface LimitLeft {
  readonly amount: string;
  readonly left: string;
  /** When its window ends, and in how many seconds; undefined where it never does. */
  readonly reset: { readonly at: Date; readonly seconds: number } | undefined;
}

/**
 * What a caller speaks: one wire format, everything that is particular to it, and nothing else. The road asks the dialect of
 * its call and knows no dialect by name (`scripts/architecture.test.ts`). Pure: no clock, no network, no state between calls.
 */
export interface Dialect {
  /** As providers list it and operators read it, such as `anthropic-messages`. */
  readonly name: string;
  readonly family: ClientFamily;
  /** The `call_type` of the spend row, as LiteLLM names it. */
  readonly callType: string;
  /** The version in its paths where that is not `v1`: every path under it is of this dialect, the list of models included. */
  readonly version?: string;
  /**
   * By path without `/v1`; `{model}` in it stands for the name of a model, which then no body has. The route that answers stands first: error messages
   * name it.
   */
  readonly routes: Readonly<Record<string, DialectRoute>>;
  /**
   * Paths, without `/v1`, of its API that are not served, with all below them, and why: a sentence for whoever calls one. What is
   * not named here is an unknown route.
   */
  readonly notServed: Readonly<Record<string, string>>;
  /** Throws `invalid_request`, naming it, for what a query of a request must not say. Default: a query may say anything. */
  requireQuery?(query: string, route: Pick<DialectRoute, "isStream"> | undefined): void;
  /** Whether a caller that asks for no route of a dialect surely speaks this one, by its headers. The first that says so is taken. */
  isSpokenBy(headers: IncomingHttpHeaders): boolean;

  /** Where a body has fields that can spend or that name a model, and what is made of them. */
  readonly body: CompiledPlace;
  /** The change of the body without which a stream would not say what it cost; undefined where the caller's own does. */
  askForUsage(body: RequestBody): Edit | undefined;

  /** Whether usage counts the searches of the provider; where it does not, they are counted by what was asked. */
  readonly countsSearches: boolean;
  /** A reader of one streamed answer: it says what ends the stream (`terminal`), and whether a stream without an end is whole (`isWhole`). */
  streamReader(options: StreamReaderOptions): StreamUsageReader;
  /** The list of a whole answer that is read element by element, whatever its size; of each element large members may have been emptied. */
  readonly listRead?: string;
  /** Reads an answer that is no stream; large members of it may have been emptied. */
  readAnswer(body: Uint8Array, asked: Asked): UsageReading;

  /** How it is read into the neutral conversation, and written from it; undefined: it is not translated. */
  readonly codec: Codec | undefined;

  /** How its clients are told of models. */
  readonly models: ModelListing;
  /** How clients of the dialect read what is left of a limit of a meter. */
  limitHeaders(meter: "requests" | "tokens", left: LimitLeft): Readonly<Record<string, string>>;
  /** An error in the envelope of the dialect, as the refusal has its type. */
  errorBody(error: AppError, refusal: Refusal, requestId: string): unknown;
  /**
   * A whole frame that says nothing and that the dialect's clients pass over, wherever it stands in a stream, the first place included; sent while
   * a provider is silent. Undefined: its clients have none, and nothing is sent.
   */
  readonly ping: string | undefined;
  /** The body as the last event of a stream that has begun; real clients raise on it. */
  errorEvent(body: unknown): string;
}

/** The route of a dialect that answers, as callers write it: `/v1/messages`. */
export function answerRoute({ routes, version }: Dialect): string {
  const path = Object.keys(routes)[0] ?? "";
  return version === undefined ? `/v1${path}` : path;
}

/** The family as a row of `request_attempts` has it: its column knows two, and which API it was is what the call type says. */
export function storedFamily({ family }: Pick<Dialect, "family">): "anthropic" | "openai" {
  return family === "anthropic" ? "anthropic" : "openai";
}

/** The path at a provider that speaks it: of its first route that answers in this way, where one path streams and another does not. */
export function upstreamPathOf({ routes }: Dialect, { model, isStream }: AskedInPath): string {
  const answering = Object.values(routes).filter(({ kind }) => kind === "answer");
  const route = answering.find((one) => one.isStream === undefined || one.isStream === isStream) ?? answering[0];
  return withModel(`${route?.upstreamPath ?? ""}${route?.upstreamQuery ?? ""}`, model);
}

/** A path at a provider with the model that it is asked for; a query stays as it is. */
export function withModel(path: string, model: string): string {
  const query = path.includes("?") ? path.slice(path.indexOf("?")) : "";
  // What a name may have in it must not lead to another path.
  return path.slice(0, path.length - query.length).replace("{model}", () => encodeURIComponent(model)) + query;
}

/**
 * The dialect in which somebody who serves in these is asked for a caller of this one: the caller's own wherever it is among them; else, where translation
 * is on, the first that both have a codec for. Undefined where it cannot be served.
 */
export function servedDialect(dialects: readonly Dialect[], caller: Dialect, translates: boolean): Dialect | undefined {
  if (dialects.includes(caller)) return caller;
  return translates && caller.codec ? dialects.find(({ codec }) => codec) : undefined;
}
