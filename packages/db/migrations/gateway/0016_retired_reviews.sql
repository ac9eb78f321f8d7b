-- 'retired_month': the source changed or refunded a request whose event left the ledger with its month. No adjustment can follow.
alter table spend_reviews drop constraint spend_reviews_reason_check;
alter table spend_reviews add constraint spend_reviews_reason_check
  check (reason in ('no_org', 'no_request_id', 'bad_spend', 'recycled_id', 'unlinked_refund', 'excess_refund', 'zero_price', 'retired_month'));

-- What stands in review of a request whose event left the ledger is looked up by the request; there are few of them.
create index spend_reviews_retired on spend_reviews (request_id) where reason = 'retired_month';
