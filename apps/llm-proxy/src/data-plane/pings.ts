import { setImmediate } from "node:timers/promises";
import { type Logger, type LoopOptions, startLoop, type Stoppable } from "@proliferate/runtime";

/**
 * Between two looks at the streams that run. One to which nothing was sent between two looks gets a ping, so that no caller is without a byte for
 * more than twice this long: clients and what stands before them are to count on one each 15 s, and a second is left for a look that comes late.
 */
export const LOOK_EVERY_MS = 7_000;
/** So many streams are looked at in one turn of the event loop. */
const STREAMS_OF_A_TURN = 256;

interface PingsOptions {
  readonly logger: Logger;
  /** Where its rounds are counted; absent: nowhere. */
  readonly registry?: LoopOptions["registry"];
  /** Default: the system's. */
  readonly clock?: LoopOptions["clock"];
}

/** One stream that has begun, as its caller sees it. */
interface PingedStream {
  /** How many times something was sent to the caller. */
  sends(): number;
  /** Sends a ping where one may stand now, and the caller reads. */
  ping(): void;
}

/**
 * Keeps streams alive whose providers are silent, because they think or because they wait for one another: clients, proxies and load balancers
 * give up a connection on which nothing comes. One timer for all streams: a stream that runs costs nothing but that it is looked at.
 */
export class Pings implements Stoppable {
  /** With how many sends each had at the last look; undefined before the first. */
  readonly #followed = new Set<{ readonly stream: PingedStream; seen: number | undefined }>();
  readonly #loop: Stoppable;

  constructor({ logger, registry, clock }: PingsOptions) {
    this.#loop = startLoop("pings", LOOK_EVERY_MS, (signal) => this.#look(signal), {
      first: "after a pause",
      // Two pauses are the longest silence: they are as long as they say.
      jitter: 0,
      onError: (error) => logger.warn({ error: String(error) }, "ping.failed"),
      ...(registry && { registry }),
      ...(clock && { clock }),
    });
  }

  /** Pings the stream whenever it was silent between two looks, until the returned function is called. */
  follow(stream: PingedStream): () => void {
    const followed = { stream, seen: undefined };
    this.#followed.add(followed);
    return () => void this.#followed.delete(followed);
  }

  /** Ends with the round that runs. */
  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  async #look(signal: AbortSignal): Promise<void> {
    let looked = 0;
    for (const followed of this.#followed) {
      const { stream, seen } = followed;
      if (stream.sends() === seen) stream.ping();
      followed.seen = stream.sends();
      looked += 1;
      if (looked % STREAMS_OF_A_TURN !== 0) continue;
      await setImmediate();
      if (signal.aborted) return;
    }
  }
}
