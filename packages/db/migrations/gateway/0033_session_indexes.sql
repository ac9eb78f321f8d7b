-- one statement at a time, outside of a transaction
-- Sessions that a gateway looks after, whatever there are besides: launched ones that have not ended, and those that somebody is at.
drop index concurrently if exists gateway_sessions_launched;
create index concurrently gateway_sessions_launched on gateway_sessions (launcher) where state <> 'ended' and launcher <> 'none';
drop index concurrently if exists gateway_sessions_moving;
create index concurrently gateway_sessions_moving on gateway_sessions (session_number)
  where state in ('starting', 'ending') or (state <> 'ended' and sandbox_state in ('launching', 'pausing'));
