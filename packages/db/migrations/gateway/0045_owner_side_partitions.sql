-- The processes run as a role that may not create tables; the partitions of coming months are made with the rights of the owner.
-- What the function names is looked up in our schema first, and among a caller's temporary tables last.
alter function ensure_event_partitions(integer) security definer;
alter function ensure_event_partitions(integer) set search_path = llm_gateway, pg_temp;
revoke execute on function ensure_event_partitions(integer) from public;
