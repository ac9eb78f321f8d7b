-- What the role of gateway, worker, proxy and command line may do in one schema: read and write rows, nothing more. It owns
-- nothing, creates nothing and truncates nothing. Safe to repeat; also for what later migrations of the same owner make.
--
--   node scripts/migrate.ts --grant ROLE         as the owner; every schema that is there
--   psql "$OWNER_URL" -v schema=llm_gateway -v role=ROLE -f packages/db/grants.sql
grant usage on schema :"schema" to :"role";
grant select, insert, update, delete on all tables in schema :"schema" to :"role";
grant usage, select on all sequences in schema :"schema" to :"role";
grant execute on all functions in schema :"schema" to :"role";
alter default privileges in schema :"schema" grant select, insert, update, delete on tables to :"role";
alter default privileges in schema :"schema" grant usage, select on sequences to :"role";
alter default privileges in schema :"schema" grant execute on functions to :"role";
