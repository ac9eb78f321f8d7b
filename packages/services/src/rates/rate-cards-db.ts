/** Statements on rate cards. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

export interface RateCardRow {
  readonly rate_card_id: string;
  /** Null: the default of every org. */
  readonly org_id: string | null;
  readonly markup: string;
  readonly credits_per_usd: string;
  readonly valid_from: Date;
  /** Null: without end. */
  readonly valid_to: Date | null;
  readonly source: "operator" | "environment";
}

/** A beginning of all time is told as the year 1970: JavaScript has no date for -infinity. */
const COLUMNS = sql`rate_card_id, org_id, trim_scale(markup) as markup, trim_scale(credits_per_usd) as credits_per_usd,
  greatest(valid_from, 'epoch'::timestamptz) as valid_from, nullif(valid_to, 'infinity') as valid_to, source`;

interface NewRateCard {
  readonly orgId: string | null;
  readonly markup: string;
  readonly creditsPerUsd: string;
  readonly validFrom: Date;
  readonly validTo: Date | null;
}

/** Throws PostgreSQL's exclusion_violation (23P01) when another card of the org is valid at some time of this one. */
export async function insertRateCard(db: DatabaseExecutor, card: NewRateCard): Promise<RateCardRow> {
  const result = await sql<RateCardRow>`
    insert into rate_cards (org_id, markup, credits_per_usd, valid_from, valid_to)
    values (${card.orgId}, ${card.markup}::numeric, ${card.creditsPerUsd}::numeric, ${card.validFrom}, coalesce(${card.validTo}::timestamptz, 'infinity'))
    returning ${COLUMNS}`.execute(db);
  return result.rows[0] as RateCardRow;
}

/** Of one org and the default, or all; by org, then by time. */
export async function readRateCards(db: DatabaseExecutor, orgId: string | undefined): Promise<readonly RateCardRow[]> {
  const result = await sql<RateCardRow>`
    select ${COLUMNS} from rate_cards
    where ${orgId ?? null}::text is null or org_id is null or org_id = ${orgId ?? null}::text
    order by org_id nulls first, rate_cards.valid_from`.execute(db);
  return result.rows;
}

/** Ends the card that is open-ended, at `at`, if it began before. Returns whether there was one. */
export async function endOpenRateCard(tx: DatabaseExecutor, orgId: string | null, at: Date): Promise<boolean> {
  const result = await sql`
    update rate_cards set valid_to = ${at}
    where org_id is not distinct from ${orgId} and valid_to = 'infinity' and valid_from < ${at}::timestamptz`.execute(tx);
  return (result.numAffectedRows ?? 0n) > 0n;
}

/**
 * Makes the default card from the environment's rate: for all time where there is none; from now on where the present one came
 * from the environment, too, and says otherwise. A card of an operator is left alone. Returns whether it made one.
 */
export async function seedDefaultCard(
  tx: DatabaseExecutor,
  rate: { readonly markup: string; readonly creditsPerUsd: string },
): Promise<boolean> {
  await sql`lock table rate_cards in share row exclusive mode`.execute(tx);
  await sql`
    update rate_cards set valid_to = billing_now()
    where org_id is null and source = 'environment' and valid_to = 'infinity' and valid_from < billing_now()
      and (markup, credits_per_usd) <> (${rate.markup}::numeric, ${rate.creditsPerUsd}::numeric)`.execute(tx);
  const result = await sql`
    insert into rate_cards (org_id, markup, credits_per_usd, valid_from, source)
    select null, ${rate.markup}::numeric, ${rate.creditsPerUsd}::numeric, coalesce(max(valid_to), '-infinity'), 'environment'
    from rate_cards where org_id is null
    having count(*) filter (where valid_to = 'infinity' or source = 'operator') = 0`.execute(tx);
  return (result.numAffectedRows ?? 0n) > 0n;
}
