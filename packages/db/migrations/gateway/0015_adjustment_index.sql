-- What a request's event was corrected by. Adjustments are few, and no other event is in it.
create index billing_events_adjustments on billing_events (original_event_id) where event_type = 'adjustment';
