-- one statement at a time, outside of a transaction
-- What is told with each scrape of the metrics is few rows of tables that grow.

drop index concurrently if exists balance_reconciliations_drifts;
create index concurrently balance_reconciliations_drifts on balance_reconciliations (reconciled_at) where severity in ('warn', 'critical');
drop index concurrently if exists webhook_events_dead;
create index concurrently webhook_events_dead on webhook_events (next_attempt_at) where state = 'dead';
drop index concurrently if exists sink_shadow_results_recent;
create index concurrently sink_shadow_results_recent on sink_shadow_results (recorded_at);
drop index concurrently if exists spend_reviews_zero_price;
create index concurrently spend_reviews_zero_price on spend_reviews (first_seen_at) where reason = 'zero_price' and resolved_at is null;
