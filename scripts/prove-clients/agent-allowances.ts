import type { Agent } from "./agents.ts";
import type { Allowance } from "./outcomes.ts";
import type { Situation } from "./situations.ts";

const REFUSED = ["expired key", "revoked key", "spent budget", "model that the key may not use", "unknown model"];

const each = (situations: readonly string[], allowance: Allowance): Readonly<Record<string, Allowance>> =>
  Object.fromEntries(situations.map((situation) => [situation, allowance]));

/** What each program does otherwise than most, by the name of the situation; none of it can be cured from our side. */
const ALLOWANCES: Readonly<Record<string, Readonly<Record<string, Allowance>>>> = {
  "Claude Code": { "unknown model": { requests: 2, says: "There's an issue with the selected model" } },
  // It asks for a title of the session as well, at the same time, now and then twice.
  "OpenCode": each(REFUSED, { requests: 3 }),
  // It cannot be stopped sooner at a 401, and has words of its own for money.
  "Codex": { ...each(["expired key", "revoked key"], { requests: 6 }), "spent budget": { says: "Quota exceeded" } },
};

/** What this program may do in this situation. Where no answer comes, all may try on: people see it, and end it. */
export function allowanceOf({ family, refusedWith, namesSession = false }: Agent, { name, provider, canRecover }: Situation): Allowance {
  if (refusedWith !== undefined) return { isRefused: true, says: refusedWith };
  return { namesSession, ...ALLOWANCES[family]?.[name], ...(provider !== undefined && !canRecover && { goesOn: true }) };
}
