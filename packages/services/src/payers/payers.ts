import { deletePayer, findChain, listPayerRows, readPayer, writePayer } from "@proliferate/access/principals";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { ensureOrg, lockGate, readGate } from "../billing-gate/index.ts";
import { moveReservations } from "../key-budgets/index.ts";
import { lockIngest } from "../ledger/index.ts";
import { type Operator, recordAction } from "../operator/index.ts";

/** Whom a team is billed to, as it is now. */
interface Payer {
  readonly teamId: string;
  /** The team's own id where it pays for itself. */
  readonly orgId: string;
}

/** A team that does not pay for itself. */
interface PayerView extends Payer {
  readonly since: Date;
}

/** What a change of a payer did. */
export interface ChangedPayer extends Payer {
  /** Who paid before; the same as `orgId` where nothing was changed. */
  readonly previousOrgId: string;
}

const MAX_ID_LENGTH = 200;

/**
 * Lets `orgId` be billed for all that the team's keys use and that is not on the ledger yet. What is on it stays where it is. What the
 * team's live sessions have reserved moves along. Idempotent. Throws `invalid_request` for an id that is none, and `payer_refused` where
 * it would take two steps to find who pays, or the team is suspended.
 */
export async function setPayer(db: DatabaseClient, teamId: string, orgId: string, operator?: Operator): Promise<ChangedPayer> {
  checkId("team_id", teamId);
  checkId("org_id", orgId);
  if (teamId === orgId)
    throw new AppError("payer_refused", `${teamId} pays for itself by default; unset its payer where it has another.`, { param: "org_id" });
  return changePayer(db, teamId, orgId, operator);
}

/** Lets the team pay for itself again, from now on. As {@link setPayer}. */
export async function unsetPayer(db: DatabaseClient, teamId: string, operator?: Operator): Promise<ChangedPayer> {
  checkId("team_id", teamId);
  return changePayer(db, teamId, teamId, operator);
}

/** One page of teams that do not pay for themselves. */
interface PayerPage {
  readonly payers: readonly PayerView[];
  /** Give it to the next call; null on the last page. */
  readonly nextCursor: string | null;
}

/** Teams that do not pay for themselves, by id; those of one payer with `orgId`. Default 100 a page, 500 at most. */
export async function listPayers(
  db: DatabaseExecutor,
  options: { readonly orgId?: string | undefined; readonly cursor?: string | undefined; readonly limit?: number | undefined } = {},
): Promise<PayerPage> {
  const limit = Math.min(Math.max(Math.trunc(options.limit ?? 100), 1), 500);
  const rows = await listPayerRows(db, { orgId: options.orgId, afterTeamId: options.cursor ?? "", limit: limit + 1 });
  const payers = rows.slice(0, limit).map((row) => ({ teamId: row.team_id, orgId: row.org_id, since: row.created_at }));
  return { payers, nextCursor: rows.length > limit ? (payers.at(-1)?.teamId ?? null) : null };
}

/**
 * Under the ingest lock, so that whole transactions of events lie before the change or behind it, and so that one payer is changed at a
 * time; and under the gates of all whom it concerns, so that a session is admitted before it, and its reservation moves, or behind it.
 */
async function changePayer(db: DatabaseClient, teamId: string, orgId: string, operator: Operator | undefined): Promise<ChangedPayer> {
  return db.transaction().execute(async (tx) => {
    await lockIngest(tx);
    const previousOrgId = await readPayer(tx, teamId);
    if (previousOrgId === orgId) return { teamId, orgId, previousOrgId };
    await ensureOrg(tx, orgId);
    // Both orgs are locked in the order of their ids. Two calls that lock org_a and org_b in different orders could wait for each other.
    for (const id of [...new Set([teamId, previousOrgId, orgId])].toSorted()) await lockGate(tx, id);
    if (orgId === teamId) await deletePayer(tx, teamId);
    else {
      await requireOneStep(tx, teamId, orgId);
      await writePayer(tx, teamId, orgId);
    }
    await moveReservations(tx, { teamId, fromOrgId: previousOrgId, toOrgId: orgId });
    if (operator)
      await recordAction(tx, {
        action: orgId === teamId ? "team.payer_unset" : "team.payer_set",
        subject: teamId,
        orgId,
        operator,
        facts: { payer: { before: previousOrgId, after: orgId } },
      });
    return { teamId, orgId, previousOrgId };
  });
}

/** Throws `payer_refused`: see `payerOf`, which looks one step far; and a suspended team would be free again under its payer's gate. */
async function requireOneStep(tx: DatabaseExecutor, teamId: string, orgId: string): Promise<void> {
  const chain = await findChain(tx, teamId, orgId);
  if (chain.payer_of_org !== null)
    throw new AppError(
      "payer_refused",
      `${orgId} cannot pay for ${teamId}, as ${chain.payer_of_org} pays for ${orgId}; name ${chain.payer_of_org}.`,
      { param: "org_id" },
    );
  if (chain.team_that_it_pays_for !== null)
    throw new AppError(
      "payer_refused",
      `${teamId} pays for ${chain.team_that_it_pays_for}, and so for itself; give that team another payer first.`,
      { param: "team_id" },
    );
  if ((await readGate(tx, teamId))?.state === "suspended")
    throw new AppError("payer_refused", `${teamId} is suspended, which would end with another payer; resume it first.`, {
      param: "team_id",
    });
}

function checkId(param: string, id: string): void {
  if (id.length >= 1 && id.length <= MAX_ID_LENGTH && !/\p{Cc}/u.test(id)) return;
  throw new AppError("invalid_request", `${param} must be a text of 1 to ${MAX_ID_LENGTH} characters in one line.`, { param });
}
