-- 'unknown_usage': billed by what of it is known; a part of what its provider reported has no price here.
alter table spend_reviews drop constraint spend_reviews_reason_check;
alter table spend_reviews add constraint spend_reviews_reason_check
  check (reason in ('no_org', 'no_request_id', 'bad_spend', 'recycled_id', 'unlinked_refund', 'excess_refund', 'zero_price', 'unknown_usage', 'retired_month'));
