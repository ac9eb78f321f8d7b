/**
 * Node cuts small buffers out of pieces of 64 KB, and each keeps its whole piece alive. A proxy holds a little of each of thousands of
 * answers for minutes (half an event, the head of an answer), so each little would be 64 KB: a thousand streams that nobody reads were
 * 150 MB. Pieces of 4 KB cost a fraction more allocations, and what has 2 KB or more is as large as it is.
 */
const POOL_BYTES = 4 * 1024;

/** For the whole process, its libraries included; buffers that exist stay as they are. */
export function keepBuffersSmall(): void {
  Buffer.poolSize = POOL_BYTES;
}
