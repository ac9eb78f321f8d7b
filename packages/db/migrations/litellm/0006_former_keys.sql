-- LiteLLM's table of keys that were regenerated and work until `revoke_at`, as LiteLLM has it: by the SHA-256 of the former key the one that took
-- its place. "if not exists", as in the first.

create table if not exists "LiteLLM_DeprecatedVerificationToken" (
  id text primary key,
  token text not null,
  active_token_id text not null,
  revoke_at timestamp(3) not null,
  created_at timestamp(3) not null default current_timestamp
);
create unique index if not exists "LiteLLM_DeprecatedVerificationToken_token_key" on "LiteLLM_DeprecatedVerificationToken" (token);
create index if not exists "LiteLLM_DeprecatedVerificationToken_token_revoke_at_idx" on "LiteLLM_DeprecatedVerificationToken" (token, revoke_at);
create index if not exists "LiteLLM_DeprecatedVerificationToken_revoke_at_idx" on "LiteLLM_DeprecatedVerificationToken" (revoke_at);
