-- Whether the agent of a ready session still answers. One gateway asks at a time: whoever moves agent_checked_at forward does. The
-- one that starts an agent again, or gives it up, stands as the session's instance_id meanwhile.
alter table gateway_sessions
  add column agent_checked_at timestamptz,
  -- Since when it has not answered; null while it does.
  add column agent_silent_since timestamptz,
  -- How often it was started again in its sandbox.
  add column agent_restarts integer not null default 0;
