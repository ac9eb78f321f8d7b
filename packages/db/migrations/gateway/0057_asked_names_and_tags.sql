-- What the spend row of a request tells beside its cost, kept from its admission on: the name by which the caller asked for the model, where
-- an alias led elsewhere, and its tags. Null where there is none, and for requests that an older process admitted.
alter table request_attempts add column requested_model text, add column request_tags text[];
