import { type DatabaseClient, isOverlap } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import { type Operator, recordAction } from "../operator/index.ts";
import type { RateCard } from "./credits.ts";
import { endOpenRateCard, insertRateCard, type RateCardRow, readRateCards, seedDefaultCard } from "./rate-cards-db.ts";

interface RateCardOptions {
  /** Whose; without it the default of every org that has no card of its own. */
  readonly orgId?: string | undefined;
  /** Factor on the provider's price. Above zero, at most 6 decimals. */
  readonly markup: DecimalText;
  /** Above zero, at most 6 decimals. `"100"`: 1 credit = $0.01. */
  readonly creditsPerUsd: DecimalText;
  /** By the time at which a request began; inclusive. */
  readonly validFrom: Date;
  /** Exclusive. Default: without end. */
  readonly validTo?: Date | undefined;
}

const POSITIVE_RATE = /^(?=.*[1-9])\d{1,9}(\.\d{1,6})?$/;

/**
 * Adds a card. One that begins later than an open-ended card of the same org ends that card at its own beginning, so a
 * change of rate is one call. Events that were billed before keep their rate, also those of requests that the new card
 * would cover. Throws `rate_card_invalid` (zero, negative or no rate; an end before the beginning) and `rate_card_overlap`,
 * and changes nothing then. With `operator` it is put on record.
 */
export async function addRateCard(db: DatabaseClient, options: RateCardOptions, operator?: Operator): Promise<RateCardRow> {
  const card = checkRateCard(options);
  try {
    return await db.transaction().execute(async (tx) => {
      await endOpenRateCard(tx, card.orgId, card.validFrom);
      const added = await insertRateCard(tx, card);
      const facts = {
        markup: added.markup,
        credits_per_usd: added.credits_per_usd,
        valid_from: added.valid_from,
        valid_to: added.valid_to,
      };
      if (operator)
        await recordAction(tx, { action: "rate_card.added", subject: added.rate_card_id, orgId: added.org_id, operator, facts });
      return added;
    });
  } catch (error) {
    if (!isOverlap(error)) throw error;
    const owner = card.orgId === null ? "The default" : `Organization ${card.orgId}`;
    throw new AppError(
      "rate_card_overlap",
      `${owner} has a rate card that is valid at some time between ${card.validFrom.toISOString()} and ${card.validTo?.toISOString() ?? "the end of time"}.`,
      { cause: error },
    );
  }
}

function refuse(message: string): never {
  throw new AppError("rate_card_invalid", message);
}

function checkRateCard(options: RateCardOptions) {
  const { orgId, markup, creditsPerUsd, validFrom, validTo } = options;
  if (!POSITIVE_RATE.test(markup))
    refuse(`The markup ${JSON.stringify(markup)} is not a decimal number above zero with at most 6 decimals.`);
  if (!POSITIVE_RATE.test(creditsPerUsd))
    refuse(`The credits per USD ${JSON.stringify(creditsPerUsd)} are not a decimal number above zero with at most 6 decimals.`);
  if (orgId === "") refuse("The organization of a rate card is empty; leave it out for the default.");
  if (Number.isNaN(validFrom.getTime())) refuse("The time from which the rate card is valid is not a date.");
  if (validTo !== undefined && !(validFrom < validTo)) refuse("The rate card ends before it begins.");
  return { orgId: orgId ?? null, markup, creditsPerUsd, validFrom, validTo: validTo ?? null };
}

/** Of one org together with the defaults, or all of them. */
export async function listRateCards(
  db: DatabaseClient,
  options: { readonly orgId?: string | undefined } = {},
): Promise<readonly RateCardRow[]> {
  return readRateCards(db, options.orgId);
}

/**
 * Makes the environment's rate the default card: for all time at the first start, from now on when it changed since. A
 * default card that an operator added wins over the environment. Idempotent. Returns whether a card was made.
 */
export async function seedRateCard(db: DatabaseClient, rate: RateCard): Promise<boolean> {
  return db.transaction().execute((tx) => seedDefaultCard(tx, rate));
}
