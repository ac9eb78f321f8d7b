import type { PROFILES } from "./commands.ts";

interface Defect {
  /** What there must be much of to find it soon. */
  readonly profile: keyof typeof PROFILES;
  readonly rewrite: (statement: string) => string;
}

const replacing = (profile: Defect["profile"], pattern: RegExp, replacement: string): Defect => ({
  profile,
  rewrite: (statement) => statement.replace(pattern, replacement),
});

/** What an engineer might break in the statements of admission and settlement, by name: each must be found, or the model proves nothing. */
export const DEFECTS: Readonly<Record<string, Defect>> = {
  "one more is admitted than fits": replacing(
    "contended",
    /amount > used \+ reserved and least <= amount - used - reserved\b/,
    "amount >= used + reserved and least <= amount - used - reserved + 1",
  ),
  "counters are read without their lock": {
    profile: "contended",
    rewrite: (statement) => (statement.includes("insert_attempt_within_") ? statement.replaceAll("for update of c", "") : statement),
  },
  "what was decided step by step is decided without a lock": replacing(
    "contended",
    /^(select from limit_counters c [^]*?)for update of c/,
    "$1",
  ),
  "a settlement keeps what it reserved": replacing("mixed", /reserved = c\.reserved - a\.amount/, "reserved = c.reserved"),
  "the budgets keep what a request without other limits reserved": replacing(
    "mixed",
    /settle_in_budgets\(key_hash, team_id, (.*?), reserved_usd\)/,
    "settle_in_budgets(key_hash, team_id, $1, 0)",
  ),
  "a request without other limits passes its team's budget over": replacing(
    "mixed",
    /reserve_in_budgets\((\$\d+), \$\d+, /,
    "reserve_in_budgets($1, null, ",
  ),
  "what was reserved counts, not what was taken": replacing("mixed", /coalesce\(a\.taken, a\.amount\)/, "a.amount"),
  "a request is settled in the window in which it ends": replacing(
    "mixed",
    /select r\.\* from attempt cross join reservations_of\(attempt\.reservations\) r/,
    "select r.principal_kind, r.principal_id, r.meter, r.limit_window, r.model, limit_window_start(r.limit_window, now()), r.amount from attempt cross join reservations_of(attempt.reservations) r",
  ),
  "limits of other models hold, too": replacing("mixed", /where l\.model = '' or l\.model = /, "where true or l.model = "),
  "limits of the payer are passed over": replacing(
    "mixed",
    /where l\.model = '' or l\.model = (\$\d+)::text/,
    "where (l.model = '' or l.model = $1::text) and l.principal_kind <> 'payer'",
  ),
  "what is only counted is not": replacing(
    "mixed",
    /where l\.model = '' or l\.model = (\$\d+)::text/,
    "where (l.model = '' or l.model = $1::text) and l.enforce = 'refuse'",
  ),
  "a correction is not counted": replacing("mistaken", /used = c\.used \+ a\.amount\s+from/, "used = c.used from"),
  "a key that was regenerated begins anew": replacing(
    "regenerating",
    /coalesce\(h\.key_id, k\.token\) as "keyHash"/,
    'k.token as "keyHash"',
  ),
  "a former key is good for ever": replacing("regenerating", /d\.revoke_at > clock_timestamp\(\) at time zone 'utc'/, "true"),
  "the column of a regenerated key is passed over": replacing(
    "regenerating",
    /select add_key_spend\(a\.key_hash, (.*?)\) as is_counted/,
    `select true as is_counted`,
  ),
  "a deleted key takes along what its requests hold": replacing(
    "rotating",
    / and c\.reserved = 0 and c\.principal_id in/,
    " and c.principal_id in",
  ),
};
