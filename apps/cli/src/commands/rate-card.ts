import { addRateCard, listRateCards, type RateCardRow } from "@proliferate/services/rates";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseInstant, parseRange } from "../instant.ts";
import { jsonDocument } from "../output.ts";

export interface RateCardAddOptions extends OperatorOptions {
  readonly markup: string;
  readonly creditsPerUsd: string;
  readonly org?: string;
  readonly from?: string;
  readonly to?: string;
}

/** `billing rate-card add`: what spend costs from a time on; an open-ended card of the same owner ends there. */
export function rateCardAdd(options: RateCardAddOptions): Action {
  return async ({ db, json, operator, write }) => {
    const { to: validTo } = parseRange(options.to === undefined ? {} : { to: options.to });
    const validFrom = options.from === undefined ? new Date() : parseInstant("--from", options.from);
    const card = await addRateCard(
      db,
      { orgId: options.org, markup: options.markup, creditsPerUsd: options.creditsPerUsd, validFrom, validTo },
      operator(options),
    );
    await write(json ? jsonDocument(card) : cardLine(card));
    return EXIT.done;
  };
}

/** `billing rate-card list`: the defaults first, then each org's own. */
export function rateCardList(options: { readonly org?: string }): Action {
  return async ({ db, json, write }) => {
    const cards = await listRateCards(db, { orgId: options.org });
    await write(json ? jsonDocument({ rateCards: cards }) : cards.map(cardLine).join(""));
    return EXIT.done;
  };
}

function cardLine(card: RateCardRow): string {
  const since = card.valid_from.getTime() === 0 ? "all time" : card.valid_from.toISOString();
  return `${card.rate_card_id}  ${card.org_id ?? "default"}  markup ${card.markup}, ${card.credits_per_usd} credits for one USD  from ${since} to ${card.valid_to?.toISOString() ?? "no end"}  (${card.source})\n`;
}
