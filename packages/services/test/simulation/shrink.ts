import type { Schedule } from "./schedule.ts";

/**
 * The shortest part of a failing schedule that still fails: whole actors are taken out first, then ever smaller pieces.
 * `fails` runs a schedule; it is called `budget` times at most (default 200).
 */
export async function shrink(schedule: Schedule, fails: (schedule: Schedule) => Promise<boolean>, budget = 200): Promise<Schedule> {
  let best = schedule;
  let runs = 0;
  const tryMoves = async (moves: Schedule["moves"]): Promise<boolean> => {
    if (moves.length === best.moves.length || runs >= budget) return false;
    runs += 1;
    const candidate = { ...best, moves };
    if (!(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (const worker of [2, 1, 0]) await tryMoves(best.moves.filter((move) => !("worker" in move) || move.worker !== worker));
  for (const kind of new Set(best.moves.map((move) => move.kind))) await tryMoves(best.moves.filter((move) => move.kind !== kind));
  for (let size = Math.ceil(best.moves.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.moves.length;) {
      const isShorter = await tryMoves([...best.moves.slice(0, at), ...best.moves.slice(at + size)]);
      if (!isShorter) at += size;
    }
  }
  return best;
}
