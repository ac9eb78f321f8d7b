import { ScanTurns } from "../body/scan-turns.ts";
import { FairReads, type LaneSettings } from "../http/fair-reads.ts";
import { UPLOAD_PACE, type UploadPace } from "../http/read-body.ts";
import { SMALL_BODY_BYTES, UPLOAD_MEMORY_LIMITS, UploadMemory, type UploadMemoryLimits } from "../http/upload-memory.ts";

export interface UploadLimits {
  /** Of one body. */
  readonly bodyBytes: number;
  readonly memory: UploadMemoryLimits;
  readonly pace: UploadPace;
}

/** 32 MB is what Anthropic takes at most; Claude Code relies on it. */
export const UPLOAD_LIMITS: UploadLimits = { bodyBytes: 32 * 1024 * 1024, memory: UPLOAD_MEMORY_LIMITS, pace: UPLOAD_PACE };

/** Node reads so much of a caller's connection at a time. */
const PIECE_BYTES = 64 * 1024;
/**
 * Bodies of agents pass as they come, up to 256 KB in a turn of the event loop. What is larger is read in its turn, a quarter of a
 * Gbit/s of all of it: two hundred uploads that begin at once had a turn last for the reading of them all, 8 to 16 ms, and a request needs ten turns.
 */
const UPLOAD_LANES: readonly LaneSettings[] = [
  { upToBytes: SMALL_BODY_BYTES, bytesPerTurn: 4 * PIECE_BYTES, pieceBytes: PIECE_BYTES },
  { upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: PIECE_BYTES, bytesPerSecond: 32 * 1024 * 1024, pieceBytes: PIECE_BYTES },
];

/** How bodies come in: what one may be, what all of them may hold, and whose turn it is to be read. One a process. */
export class Uploads {
  readonly limits: UploadLimits;
  readonly memory: UploadMemory;
  readonly reads = new FairReads(UPLOAD_LANES);
  readonly scanTurns = new ScanTurns();

  constructor(limits: UploadLimits) {
    this.limits = limits;
    this.memory = new UploadMemory(limits.memory);
  }
}
