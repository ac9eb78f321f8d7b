-- Whoever streams a session's events is woken when one is committed, instead of asking again and again. Sent by the transaction that
-- writes the event, whichever statement it is; a notice never fails it, so what is longer than a notice may be is cut.
create function tell_session_event() returns trigger language plpgsql as $$
begin
  perform pg_notify('llm_gateway_session_events', left(new.session_id, 1000));
  return null;
end
$$;

create trigger session_events_told after insert on session_events for each row execute function tell_session_event();
