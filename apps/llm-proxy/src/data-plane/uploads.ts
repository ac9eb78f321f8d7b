import { ScanTurns } from "../body/scan-turns.ts";
import { UPLOAD_PACE, type UploadPace } from "../http/read-body.ts";
import { UPLOAD_MEMORY_LIMITS, UploadMemory, type UploadMemoryLimits } from "../http/upload-memory.ts";

export interface UploadLimits {
  /** Of one body. */
  readonly bodyBytes: number;
  readonly memory: UploadMemoryLimits;
  readonly pace: UploadPace;
}

/** 32 MB is what Anthropic takes at most; Claude Code relies on it. */
export const UPLOAD_LIMITS: UploadLimits = { bodyBytes: 32 * 1024 * 1024, memory: UPLOAD_MEMORY_LIMITS, pace: UPLOAD_PACE };

/** How bodies come in: what one may be, what all of them may hold, and whose turn it is to be read. One a process. */
export class Uploads {
  readonly limits: UploadLimits;
  readonly memory: UploadMemory;
  readonly scanTurns = new ScanTurns();

  constructor(limits: UploadLimits) {
    this.limits = limits;
    this.memory = new UploadMemory(limits.memory);
  }
}
