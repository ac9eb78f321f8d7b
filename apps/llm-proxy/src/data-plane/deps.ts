import type { IncomingMessage, ServerResponse } from "node:http";
import type { LimitedKeys } from "@proliferate/access/limits";
import type { DatabaseClient } from "@proliferate/db";
import type { Logger } from "@proliferate/runtime";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { LimitMemory } from "../exhausted/limit-memory.ts";
import type { Grace } from "../grace/grace.ts";
import type { InFlight } from "../http/in-flight.ts";
import type { AdmissionQueue } from "./admission-queue.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { DetachedReads } from "./detached-reads.ts";
import type { HeldAnswers } from "./held-answers.ts";
import type { UnjudgedPolicy } from "./judge.ts";
import type { LostAdmissions } from "./lost-admissions.ts";
import type { LimitWarnings } from "./limit-warnings.ts";
import type { Pings } from "./pings.ts";
import type { Settler } from "./settle.ts";
import type { Shutdown } from "./shutdown.ts";
import type { Translator } from "../translation/translator.ts";
import type { Uploads } from "./uploads.ts";
import type { Upstreams } from "./upstream.ts";

/** All that the data plane stands on. It has no globals and makes none of these itself. */
export interface DataPlaneDeps {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  readonly catalogue: Catalogue;
  readonly upstreams: Upstreams;
  readonly uploads: Uploads;
  /** Writes requests anew for providers that do not speak their dialect. */
  readonly translator: Translator;
  /** Counts of tokens that run now. */
  readonly counts: InFlight;
  /** How often a request is sent again that the provider cannot have charged, and how long after at least. */
  readonly retries: { readonly count: number; readonly afterMs: number };
  readonly detachedReads: DetachedReads;
  readonly heldAnswers: HeldAnswers;
  /** What a crash must not forget of the answers that run. */
  readonly checkpoints: Checkpoints;
  /** Keeps the streams alive whose providers are silent. */
  readonly pings: Pings;
  readonly settler: Settler;
  /** Where requests wait for what others have reserved. */
  readonly queue: AdmissionQueue;
  /** Which of two admission statements is tried first. */
  readonly limitedKeys: LimitedKeys;
  /** Gives back what an admission holds whose answer was lost. */
  readonly lostAdmissions: LostAdmissions;
  /** Tells what is nearly used up. */
  readonly limitWarnings: LimitWarnings;
  readonly unjudged: UnjudgedPolicy;
  /** Serves known keys while the store is away; undefined (the default): then nobody is served. */
  readonly grace: Grace | undefined;
  /** Refuses again what the store refused a moment ago; undefined (the default): the store is asked each time. */
  readonly limitMemory: LimitMemory | undefined;
  readonly shutdown: Shutdown;
  /** Written on each attempt; a lock on it says that this process lives. */
  readonly instanceId: number;
  readonly masterKey: string;
  /** Answers management routes that are asked for here; undefined (the default): they are on their own port only. */
  readonly manage: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | undefined;
}
