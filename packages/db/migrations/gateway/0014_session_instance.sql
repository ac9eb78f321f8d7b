-- The gateway that works on a session just now: on its launch, pause, resume or end. It holds the process lock of this id as
-- long as it lives, so that another one sees at once when the work was left. Null while nobody is at it.
alter table gateway_sessions rename column sandbox_instance_id to instance_id;

-- What a request had decided before it began its work, sealed as its answer is: a gateway that takes over from a dead one
-- answers with it for the session that lives.
alter table session_requests add column sealed_draft bytea;

-- Whether somebody knows the agent's password when the gateway that launches it dies: the caller was answered, or kept it under
-- an idempotency key. Else a launch is not worth completing.
alter table gateway_sessions add column password_is_kept boolean not null default true;
