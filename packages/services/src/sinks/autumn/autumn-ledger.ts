import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { createTokenBucket } from "../port/token-bucket.ts";
import type { AutumnClient, AutumnEvent, AutumnEventPage } from "./autumn-client.ts";
import { meansNoEventList } from "./autumn-errors.ts";
import { customerIdForOrg } from "./customer-id.ts";
import { decimalFromJsonNumber } from "./json-number.ts";
import type { RecordedDeduction, SettlementLedgerView } from "../port/sink.ts";

const PAGE_EVENTS = 1_000;
/** Autumn's limit for one customer. */
const PAGES_PER_SECOND = 5;

/** Of one org and reading: a batch a minute fills less than two of a day. Whatever leads further is no list that ends. */
const MAX_PAGES = 200;

/** What Autumn has on record of our deductions: its events carry the batch's id, its balances the sum. */
export function createAutumnLedger(
  open: () => Promise<AutumnClient>,
  featureId: string,
  correct: SettlementLedgerView["correct"],
  maxPages = MAX_PAGES,
): SettlementLedgerView {
  return {
    async listDeductions(orgId, since) {
      const client = await open();
      const pages = createTokenBucket(PAGES_PER_SECOND);
      const found: RecordedDeduction[] = [];
      const cursors = new Set<string>();
      let startCursor: string | null = "";
      while (startCursor !== null) {
        if (cursors.has(startCursor) || cursors.size >= maxPages)
          throw new AppError("autumn_unavailable", `Autumn's list of events does not end (${cursors.size} pages).`);
        cursors.add(startCursor);
        await pages.take();
        const page = await listPage(client, { customerId: customerIdForOrg(orgId), featureId, startCursor, limit: PAGE_EVENTS });
        if (page === undefined) return undefined;
        // The number of pages is bounded, so one reading holds a bounded number of events in memory.
        if (page.list.length > PAGE_EVENTS)
          throw new AppError("autumn_unavailable", `Autumn answered with ${page.list.length} events where ${PAGE_EVENTS} were asked for.`);
        for (const event of page.list) {
          const batchId = event.properties["batch_id"];
          if (isBatchId(batchId)) found.push({ batchId, credits: takenBy(event) });
        }
        const oldest = page.list.at(-1)?.timestamp ?? 0;
        startCursor = oldest < since.getTime() ? null : page.nextCursor;
      }
      return found;
    },
    async readUsage(orgId) {
      const client = await open();
      const { balances } = await client.customers.get({ customerId: customerIdForOrg(orgId) });
      const balance = balances[featureId];
      // The usage is summed over these balances. In a new period, or when a balance came or went, the sum is one of other balances, and the
      // ids of both sums say so.
      const balanceIds = balance && [...(balance.breakdown ?? []).map((one) => one.id).toSorted(), String(balance.nextResetAt)].join(" ");
      return balance && balanceIds !== undefined
        ? { balanceIds, credits: decimalFromJsonNumber(balance.usage), grantedCredits: decimalFromJsonNumber(balance.granted) }
        : undefined;
    },
    correct,
  };
}

/** Ours are UUIDs; somebody else's events may name anything, of any length. */
const isBatchId = (value: unknown): value is string => typeof value === "string" && value.length <= 36;

function takenBy({ deductions }: AutumnEvent): DecimalText {
  return addDecimals(...(deductions ?? []).map((deduction) => decimalFromJsonNumber(deduction.value)));
}

async function listPage(
  client: AutumnClient,
  request: Parameters<AutumnClient["events"]["list"]>[0],
): Promise<AutumnEventPage | undefined> {
  try {
    return await client.events.list(request);
  } catch (error) {
    if (meansNoEventList(error)) return undefined;
    throw error;
  }
}
