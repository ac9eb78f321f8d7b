-- What stands in review of a request whose event left the ledger is looked up by the request; there are few of them.
create index spend_reviews_retired on spend_reviews (request_id) where reason = 'retired_month';
