import { addDecimals, subtractDecimals } from "@proliferate/shared/money";
import type pg from "pg";
import { type AutumnModel, type BatchAtAutumn, GRANTED_CREDITS } from "./autumn-model.ts";

interface BatchNow {
  readonly batch_id: string;
  readonly org_id: string;
  readonly state: string;
  readonly credits: string;
  readonly needs_reconcile: boolean;
}

interface BalanceNow {
  readonly org_id: string;
  readonly local: string;
  readonly used: string;
  /** Used beyond a capped balance: never collected. */
  readonly short: string;
}

/** What must hold at every moment of every schedule. Returns what does not, or undefined. */
export async function findViolation(observer: pg.Client, autumn: AutumnModel): Promise<string | undefined> {
  if (autumn.violations.length > 0) return autumn.violations.join("; ");
  const { rows } = await observer.query<{ violations: string[] | null; batches: BatchNow[] | null; balances: BalanceNow[] | null }>({
    name: "invariants",
    text: INVARIANTS,
  });
  const { violations, batches, balances } = rows[0] ?? { violations: null, batches: null, balances: null };
  if (violations) return violations.join("; ");
  for (const batch of batches ?? []) {
    const violation = compareBatch(batch, autumn.batches.get(batch.batch_id));
    if (violation !== undefined) return violation;
  }
  for (const balance of balances ?? []) {
    const violation = compareBalance(balance, autumn);
    if (violation !== undefined) return violation;
  }
  return undefined;
}

/** Added up here, from the rows themselves, without the product's own reports. */
const INVARIANTS = `
  select (
    select json_agg(violation) from (
      select format('%s: events %s, batches %s, open %s, carry %s', a.org_id, e.total, b.total, e.open, a.carry_credits) as violation
      from billing_accounts a
      cross join lateral (
        select coalesce(sum(spend_usd * markup * credits_per_usd), 0) as total, coalesce(sum(credits) filter (where event_id > a.sealed_event_id), 0) as open,
          count(*) filter (where event_id > a.sealed_event_id) as open_count, coalesce(max(event_id), a.last_event_id) as newest
        from billing_events where org_id = a.org_id) e
      cross join lateral (select coalesce(sum(credits), 0) as total, coalesce(max(through_event_id), 0) as sealed from settlement_batches where org_id = a.org_id) b
      where (e.total, e.open_count, e.open, e.newest, b.sealed) <> (b.total + e.open + a.carry_credits, a.open_event_count, a.open_credits, a.last_event_id, a.sealed_event_id)
      union all
      select format('batch %s of %s begins after event %s, the batch before it ends with %s', sequence, org_id, after_event_id, former)
      from (select *, lag(through_event_id, 1, 0::bigint) over (partition by org_id order by sequence) as former from settlement_batches) b
      where after_event_id <> former or through_event_id <= after_event_id
      union all
      select format('%s: source %s less what is not corrected yet %s is not the ledger''s %s', org_id, source_credits, uncorrected_credits, ledger_credits)
      from billing_invariant where difference <> 0
      union all
      select format('%s has more than one event', idempotency_key) from billing_events group by idempotency_key having count(*) > 1
      union all
      select format('the event of %s belongs to %s, its spend row to %s', e.request_id, e.org_id, s.team_id)
      from billing_events e join "LiteLLM_SpendLogs" s on s.request_id = e.request_id where e.org_id <> s.team_id and s.team_id <> ''
      union all
      select format('batch %s was sealed over %s events and %s, has %s and %s', b.batch_id, b.event_count, b.events_credits, e.events, e.credits)
      from settlement_batches b cross join lateral (
        select count(*) as events, coalesce(sum(credits), 0) as credits from billing_events
        where org_id = b.org_id and event_id > b.after_event_id and event_id <= b.through_event_id) e
      where (b.event_count, b.events_credits) <> (e.events, e.credits)
    ) found
  ) as violations,
  (select json_agg(json_build_object('batch_id', batch_id, 'org_id', org_id, 'state', state, 'credits', trim_scale(credits)::text, 'needs_reconcile', needs_reconcile))
    from settlement_batches where credits <> 0) as batches,
  (select json_agg(json_build_object('org_id', a.org_id, 'local', trim_scale(a.balance_credits)::text, 'used', trim_scale(coalesce((select sum(credits) from billing_events e where e.org_id = a.org_id), 0))::text,
      'short', trim_scale(coalesce((select sum(credits - deducted_credits) from settlement_batches b where b.org_id = a.org_id and b.state = 'shortfall'), 0))::text))
    from billing_accounts a where a.balance_credits is not null) as balances`;

/** Our own count of what an org has left: what it was granted less what it used, to the last digit, as long as Autumn does what it says. */
function compareBalance({ org_id: orgId, local, used, short }: BalanceNow, autumn: AutumnModel): string | undefined {
  const expected = addDecimals(subtractDecimals(GRANTED_CREDITS, used), short);
  if (local === expected || !autumn.isHonest(orgId)) return undefined;
  return `${orgId} has ${local} credits by our balance, and was granted ${GRANTED_CREDITS} less the ${used} that it used, of which ${short} were short`;
}

/** What a batch's state says about the sink must be so. */
function compareBatch(batch: BatchNow, books: BatchAtAutumn | undefined): string | undefined {
  const taken = books ? books.applied - books.injected : 0;
  const isOpen = (books?.queued ?? 0) > 0;
  if (books?.isForgotten) return undefined;
  const name = `batch ${batch.batch_id} of ${batch.org_id} is ${batch.state}`;
  switch (batch.state) {
    case "delivered":
      return taken === 1 || isOpen || (books?.lost ?? 0) > 0 ? undefined : `${name}, but Autumn took nothing`;
    case "sealed":
    case "parked":
    case "dead":
      return taken === 0 && !isOpen ? undefined : `${name}, but Autumn took it`;
    case "unapplied":
    case "shortfall":
      return taken === 0 ? undefined : `${name}, but Autumn took it`;
    default:
      return undefined;
  }
}

/** What must hold when all faults are over and everybody has finished: nothing is left, and all sums are the same. */
export async function findUnfinished(observer: pg.Client, autumn: AutumnModel, expected: ExpectedBilling): Promise<string | undefined> {
  const { rows } = await observer.query<{ unfinished: string | null; findings: string | null; reviews: string; requests: string }>({
    name: "unfinished",
    text: UNFINISHED,
  });
  const { unfinished, findings, reviews, requests } = rows[0] ?? { unfinished: null, findings: null, reviews: "", requests: "" };
  if (unfinished !== null) return `left at the end: ${unfinished}`;
  if (findings !== null) return `found at the end: ${findings}`;
  if (Number(requests) !== expected.requests) return `${expected.requests} spend rows can be billed, ${requests} were`;
  if (Number(reviews) !== expected.reviews) return `${expected.reviews} spend rows cannot be billed, ${reviews} are in review`;
  return compareSums(observer, autumn, expected);
}

export interface ExpectedBilling {
  /** Spend rows that are billed, and those that wait for a person. */
  readonly requests: number;
  readonly reviews: number;
  /** Exact credits of all rows of each org, computed without the database. */
  readonly creditsByOrg: ReadonlyMap<string, string>;
}

const UNFINISHED = `
  select (select string_agg(format('batch %s of %s is %s (%s)', batch_id, org_id, state, coalesce(last_error_code, 'no error')), '; ')
      from settlement_batches where state not in ('delivered', 'shortfall')) as unfinished,
    (select string_agg(format('%s of %s: %s', kind, org_id, message), '; ') from delivery_findings where resolved_at is null) as findings,
    (select count(*) from spend_reviews where resolved_at is null and reason not in ('zero_price', 'unknown_usage', 'excess_refund')) as reviews,
    (select count(*) from billing_events where event_type = 'llm') as requests`;

async function compareSums(observer: pg.Client, autumn: AutumnModel, expected: ExpectedBilling): Promise<string | undefined> {
  const { rows } = await observer.query<{ org_id: string; rest: string; delivered: string; short: string; balance: string | null }>({
    name: "sums",
    text: SUMS,
  });
  const known = new Map(rows.map((row) => [row.org_id, row]));
  for (const [orgId, credits] of expected.creditsByOrg) {
    const { rest = "0", delivered = "0", short = "0" } = known.get(orgId) ?? {};
    const difference = subtractDecimals(credits, addDecimals(rest, delivered, short));
    if (difference !== "0")
      return `${orgId} used ${credits} credits: ${delivered} are delivered, ${rest} are carried or open, ${short} were short, ${difference} are missing`;
    if (autumn.isBeyondTelling(orgId)) continue;
    const [atAutumn, forgotten] = [autumn.kept(orgId), autumn.forgotten(orgId)];
    if (addDecimals(atAutumn, forgotten) !== delivered)
      return `${orgId}: ${delivered} credits are delivered, Autumn took ${atAutumn} and forgot ${forgotten}`;
    const { balance = null } = known.get(orgId) ?? {};
    const left = subtractDecimals(addDecimals(GRANTED_CREDITS, short, forgotten), credits);
    if (balance !== null && !isNoise(subtractDecimals(balance, left), autumn.changes(orgId)))
      return `${orgId} used ${credits} of ${GRANTED_CREDITS} credits, ${short} were short and ${forgotten} forgotten, and ${balance} are left by our balance`;
  }
  return undefined;
}

/**
 * A difference from the exact balance that the reconciliation leaves alone. Autumn's own balance is off by up to half of its last
 * digit for each change, and the reconciliation takes what differs from that by one last digit for each delivery as the same.
 * An honest Autumn leaves none, which every step has shown.
 */
const isNoise = (difference: string, changes: number): boolean =>
  Math.abs(Number(difference)) <= 0.000_001 + changes * Number(GRANTED_CREDITS) * 1.5e-14;

const SUMS = `
  select a.org_id, trim_scale(a.carry_credits + coalesce((select sum(credits) from billing_events e where e.org_id = a.org_id and e.event_id > a.sealed_event_id), 0))::text as rest,
    (select trim_scale(coalesce(sum(credits), 0))::text from settlement_batches b where b.org_id = a.org_id and state = 'delivered') as delivered,
    (select trim_scale(coalesce(sum(credits - deducted_credits), 0))::text from settlement_batches b where b.org_id = a.org_id and state = 'shortfall') as short,
    trim_scale(a.balance_credits)::text as balance
  from billing_accounts a`;
