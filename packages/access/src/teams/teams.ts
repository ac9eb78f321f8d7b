import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import { revokeKeysOf } from "../keys/index.ts";
import { clearBudgetCounter, lockBudgetCounter } from "../limits/index.ts";
import { deleteTeamRows, lockTeam, restartTeamSpend, type TeamFields, type TeamRow, updateTeamRow, writeTeamAliases } from "./db.ts";

/** Throws `team_not_found`, in LiteLLM's words. */
function requireTeam(team: TeamRow | undefined, teamId: string): TeamRow {
  if (team) return team;
  throw new AppError("team_not_found", `Team not found, passed team_id=${teamId.slice(0, 128)}`, { param: "team_id" });
}

/** LiteLLM's rule. Throws `invalid_request`. */
export function requireSoftBelow(softUsd: DecimalText | null, mostUsd: DecimalText | null): void {
  if (softUsd === null || mostUsd === null || compareDecimals(softUsd, mostUsd) < 0) return;
  throw new AppError("invalid_request", `soft_budget (${softUsd}) must be below max_budget (${mostUsd}).`, { param: "soft_budget" });
}

/**
 * Changes a team, in force for the next request of each of its keys. Idempotent. One that gets its first budget window starts it at 0, as a
 * key does; one that had a window keeps what it spent in it. Throws `team_not_found`, and `invalid_request` for a soft budget that is not
 * below the budget that the team has then.
 */
export async function changeTeam(
  db: DatabaseClient,
  teamId: string,
  fields: TeamFields & { readonly modelAliases?: Readonly<Record<string, string>> },
  changedBy: string,
): Promise<TeamRow> {
  return db.transaction().execute(async (tx) => {
    // The counter first, as by everybody: a settlement under way would wait in a circle.
    if (fields.budgetDuration) await lockBudgetCounter(tx, "team", teamId);
    const before = requireTeam(await lockTeam(tx, teamId), teamId);
    if (fields.budgetDuration && before.budget_duration === null) await restartSpend(tx, teamId);
    const row = requireTeam(await updateTeamRow(tx, teamId, fields), teamId);
    if (fields.softBudgetUsd !== undefined || fields.maxBudgetUsd !== undefined)
      requireSoftBelow(row.soft_budget === null ? null : String(row.soft_budget), row.max_budget === null ? null : String(row.max_budget));
    if (fields.modelAliases === undefined) return row;
    return { ...row, model_id: await writeTeamAliases(tx, row, fields.modelAliases, changedBy) };
  });
}

async function restartSpend(tx: DatabaseExecutor, teamId: string): Promise<void> {
  await restartTeamSpend(tx, teamId);
  await clearBudgetCounter(tx, "team", teamId);
}

/**
 * Deletes teams with their keys, which are refused from the next request on. Where one of the teams does not exist, nothing is changed. A
 * process that dies in the middle leaves teams that are blocked, with a part of their keys; repeated, it goes on. Throws `team_not_found`.
 */
export async function removeTeams(db: DatabaseClient, teamIds: readonly string[]): Promise<readonly string[]> {
  await db.transaction().execute(async (tx) => {
    // In one order, as two that delete the same teams would wait for each other otherwise.
    for (const teamId of teamIds.toSorted()) requireTeam(await updateTeamRow(tx, teamId, { blocked: true }), teamId);
  });
  for (const teamId of teamIds) await revokeKeysOf(db, ["team_id", teamId]);
  await deleteTeamRows(db, teamIds);
  return teamIds;
}
