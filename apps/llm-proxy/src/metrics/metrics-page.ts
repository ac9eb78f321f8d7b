import type { DatabaseClient } from "@proliferate/db";
import { createMetricsPage, type MetricsPage } from "@proliferate/runtime";
import { readReservations } from "@proliferate/access/requests";
import type { ProxyMetrics } from "./proxy-metrics.ts";

/** `/metrics` of one proxy: what it counted, and what its own requests have reserved. */
export function createProxyMetricsPage({
  db,
  metrics,
  instanceId,
}: {
  readonly db: DatabaseClient;
  readonly metrics: ProxyMetrics;
  readonly instanceId: number;
}): MetricsPage {
  const collect = async () => {
    const { attempts, reservedUsd } = await readReservations(db, instanceId);
    return [
      {
        name: "llm_gateway_proxy_attempts",
        help: "Requests of this proxy that are on record and not settled",
        samples: [{ value: attempts }],
      },
      { name: "llm_gateway_proxy_reserved_usd", help: "What they have reserved, in USD", samples: [{ value: reservedUsd }] },
    ];
  };
  return createMetricsPage([{ name: "proxy_reservations", collect }], metrics.registry);
}
