import { type DatabaseClient, isUniqueViolation } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type Operator, recordAction } from "../operator/index.ts";
import { findSinkCustomer, mapSinkCustomer, readSinkCustomers, releaseUnmappedBatches } from "./db.ts";

/** Sinks that call an org otherwise than we do, and how their customers are spelled. Autumn's customers follow from the org's id. */
const CUSTOMER_PATTERN = { stripe: /^cus_[A-Za-z0-9]{1,200}$/ } as const;

/** Sinks that know organizations under ids of their own. */
export const MAPPED_SINKS = ["stripe"] as const satisfies readonly (keyof typeof CUSTOMER_PATTERN)[];
/** One of {@link MAPPED_SINKS}. */
type MappedSink = (typeof MAPPED_SINKS)[number];

/** A mapping as it is now, what it was before, and how many batches it released. */
export interface MappedCustomer {
  readonly sink: MappedSink;
  readonly orgId: string;
  readonly customerId: string;
  /** Whom the org's usage was reported to before; null where nobody said. */
  readonly previousCustomerId: string | null;
  /** Batches that had waited for it, due now. */
  readonly releasedBatches: number;
}

/**
 * Says which customer of the sink an org is: its usage is reported there from now on, what waited for it at once. Idempotent.
 * Throws `invalid_request` for an id that is none of the sink's, and `customer_mapping_conflict` where the customer is another
 * org's; nothing is changed then.
 */
export async function mapCustomer(
  db: DatabaseClient,
  mapping: { readonly sink: MappedSink; readonly orgId: string; readonly customerId: string },
  operator: Operator,
): Promise<MappedCustomer> {
  const { sink, orgId, customerId } = mapping;
  if (!CUSTOMER_PATTERN[sink].test(customerId))
    throw new AppError("invalid_request", `"${customerId}" is no customer of ${sink}: its ids look like cus_NffrFeUfNV2Hib.`, {
      param: "customer_id",
    });
  try {
    return await db.transaction().execute(async (tx) => {
      const previousCustomerId = (await findSinkCustomer(tx, sink, orgId)) ?? null;
      if (previousCustomerId === customerId) return { sink, orgId, customerId, previousCustomerId, releasedBatches: 0 };
      await mapSinkCustomer(tx, { sink, orgId, customerId });
      const releasedBatches = await releaseUnmappedBatches(tx, orgId);
      await recordAction(tx, {
        action: "org.customer_mapped",
        subject: orgId,
        orgId,
        operator,
        facts: { sink, customer_id: customerId, previous_customer_id: previousCustomerId },
      });
      return { sink, orgId, customerId, previousCustomerId, releasedBatches };
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    const [owner] = await readSinkCustomers(db, { sink, customerId });
    throw new AppError(
      "customer_mapping_conflict",
      `Customer ${customerId} of ${sink} is organization ${owner?.orgId ?? "of another mapping"} already.`,
      { cause: error },
    );
  }
}
