import { status } from "@grpc/grpc-js";

/** An error as gRPC sends it. */
export class RpcFailure extends Error {
  readonly code: status;
  readonly details: string;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

export interface Fault {
  /** `HANG`: the call is never answered. */
  readonly code: keyof typeof status | "HANG";
  /** How many calls fail. Default 1. */
  readonly times?: number;
  /** How many calls go well before that. Default 0. */
  readonly skip?: number;
  /** `before` the work is done (default), or `after` it, so that only the answer is lost. */
  readonly when?: "before" | "after";
  readonly details?: string;
}

/** Faults by the name of the RPC; each is used up call by call. Also the journal of all calls. */
export class Faults {
  /** Names of the RPCs that came in, in order. */
  readonly calls: string[] = [];
  readonly #faults = new Map<string, { fault: Fault; skip: number; left: number }>();

  set(rpc: string, fault: Fault): void {
    this.#faults.set(rpc, { fault, skip: fault.skip ?? 0, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#faults.clear();
    this.calls.length = 0;
  }

  /** Does the work of one call, or fails as was asked for. */
  async run<T>(rpc: string, work: () => Promise<T>): Promise<T> {
    this.calls.push(rpc);
    const entry = this.#faults.get(rpc);
    if (!entry || entry.left === 0) return work();
    if (entry.skip > 0) {
      entry.skip -= 1;
      return work();
    }
    entry.left -= 1;
    if (entry.fault.when === "after") await work();
    if (entry.fault.code === "HANG") return new Promise(() => undefined);
    throw new RpcFailure(status[entry.fault.code], entry.fault.details ?? `${rpc} was told to fail`);
  }
}
