-- What an answer that does not end may have produced at most, over all its choices: settlement of a caller that left, of a cut
-- and of a crash needs it, and only admission knows what the request asked for. Null: admitted before this column was there.
alter table request_attempts add column max_output_tokens integer;
-- How much the answer may produce in a second that its bytes do not show, over all its choices: 0 for a model that shows
-- what it produces. A rule of the proxy (apps/llm-proxy/src/data-plane/hidden-output.ts).
alter table request_attempts add column hidden_tokens_per_second integer not null default 0;
