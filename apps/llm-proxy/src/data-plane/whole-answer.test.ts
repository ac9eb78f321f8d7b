import { expect, test } from "vitest";
import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import { WholeAnswer } from "./whole-answer.ts";

const KB = 1024;
const asked = {};

test("hostile 7: of a large answer only its last bytes are held, whatever the pieces are, and all of it comes in order", () => {
  for (const pieceBytes of [1, 63, 64, 65, 1_000, 16 * KB, 200 * KB]) {
    const sent = Buffer.from(Array.from({ length: 300 * KB }, (_, index) => (index * 7) % 251));
    const answer = new WholeAnswer(anthropicMessages, { passes: true, asked });
    const passed: Buffer[] = [];
    let most = 0;
    for (let at = 0; at < sent.length; at += pieceBytes) {
      const piece = sent.subarray(at, at + pieceBytes);
      passed.push(...answer.push(piece));
      most = Math.max(most, answer.isPassing ? answer.heldBytes : 0);
    }
    expect(most).toBeLessThanOrEqual(64);
    expect(answer.heldBytes).toBe(answer.rest().length);

    // Something is left for the end, which waits for the settlement.
    expect(answer.rest().length).toBeGreaterThan(0);
    expect(Buffer.concat([...passed, answer.rest()]).equals(sent)).toBe(true);
    expect(passed.every(({ length }) => length > 0)).toBe(true);
  }
});
