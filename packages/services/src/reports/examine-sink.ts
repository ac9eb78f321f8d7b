import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { listReadOrgs } from "../balance/index.ts";
import { examineAutumn, openAutumn, type SinkCheck, type SinkSettings } from "../sinks/index.ts";
import { listOrgsWithPolicy } from "../top-up/index.ts";

/** Autumn answers about one customer a call; so many are asked about. */
const MOST_CUSTOMERS = 50;
const MOST_FOR_LIST = 5;

/** What {@link examineAutumn} finds with these settings and the organizations of this database. Reads only. Throws `sink_not_configured` where there is no Autumn. */
export async function examineSink(db: DatabaseExecutor, { autumn }: SinkSettings): Promise<readonly SinkCheck[]> {
  if (autumn === undefined)
    throw new AppError(
      "sink_not_configured",
      "There is nothing to examine: AUTUMN_API_KEY is not set, and only Autumn can be asked what it would do.",
    );
  const [orgIds, toppedUpOrgIds] = await Promise.all([listReadOrgs(db, MOST_FOR_LIST), listOrgsWithPolicy(db, MOST_CUSTOMERS)]);
  return examineAutumn(await openAutumn(autumn), { ...autumn, orgIds, toppedUpOrgIds });
}
