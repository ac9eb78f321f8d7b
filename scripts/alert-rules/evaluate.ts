import type { BinaryOperator, LabelMatcher, PromQuery } from "./prom-query.ts";
import type { MetricSeries, Scrape } from "./scrape.ts";

/** One element of an instant vector. */
type Element = Omit<MetricSeries, "metric">;

/** A series that Prometheus has not seen for so long is gone. */
const STALE_MS = 5 * 60_000;

/** What a query answers at a moment: a vector, as each of our rules is one. Throws an Error where Prometheus would refuse. */
export function evaluate(query: PromQuery, scrapes: readonly Scrape[], atMs: number): readonly Element[] {
  const value = valueOf(query, scrapes, atMs);
  if (typeof value === "number") throw new Error("the query is a number, not a vector");
  return value;
}

function valueOf(query: PromQuery, scrapes: readonly Scrape[], atMs: number): number | readonly Element[] {
  switch (query.kind) {
    case "number":
      return query.value;
    case "selector":
      return select(query, scrapes, atMs - query.offsetMs);
    case "aggregation":
      return aggregate(query, evaluate(query.of, scrapes, atMs));
    case "absent":
      return evaluate(query.of, scrapes, atMs).length > 0 ? [] : [{ labels: {}, value: 1 }];
    case "binary":
      return combine(query, valueOf(query.left, scrapes, atMs), valueOf(query.right, scrapes, atMs));
  }
}

/** The last value of each series, if it is not stale. */
function select(
  query: { readonly metric: string; readonly matchers: readonly LabelMatcher[] },
  scrapes: readonly Scrape[],
  atMs: number,
): readonly Element[] {
  const latest = new Map<string, Element>();
  for (const { takenAtMs, series } of scrapes) {
    if (takenAtMs > atMs || takenAtMs < atMs - STALE_MS) continue;
    for (const { metric, labels, value } of series) {
      if (
        metric === query.metric &&
        query.matchers.every((matcher) => ((labels[matcher.label] ?? "") === matcher.value) === matcher.isEqual)
      )
        latest.set(keyOf(labels), { labels, value });
    }
  }
  return [...latest.values()];
}

function aggregate(
  query: { readonly operator: "max" | "min" | "sum"; readonly by: readonly string[] },
  elements: readonly Element[],
): readonly Element[] {
  const reduce = {
    max: (left: number, right: number) => Math.max(left, right),
    min: (left: number, right: number) => Math.min(left, right),
    sum: (left: number, right: number) => left + right,
  }[query.operator];
  const groups = new Map<string, Element>();
  for (const element of elements) {
    const labels = pick(element.labels, query.by);
    const group = groups.get(keyOf(labels));
    groups.set(keyOf(labels), { labels, value: group === undefined ? element.value : reduce(group.value, element.value) });
  }
  return [...groups.values()];
}

function combine(
  query: { readonly operator: BinaryOperator; readonly on: readonly string[] | undefined },
  left: number | readonly Element[],
  right: number | readonly Element[],
): number | readonly Element[] {
  const { operator } = query;
  if (operator === "and" || operator === "or" || operator === "unless") return combineSets(operator, query.on, left, right);
  const isFilter = operator in COMPARE;
  const apply = (labels: Element["labels"], leftValue: number, rightValue: number, kept: number): readonly Element[] =>
    isFilter
      ? compare(operator, leftValue, rightValue)
        ? [{ labels, value: kept }]
        : []
      : [{ labels, value: calculate(operator, leftValue, rightValue) }];
  if (typeof left === "number" && typeof right === "number") {
    if (isFilter) throw new Error(`"${operator}" between two numbers needs bool`);
    return calculate(operator, left, right);
  }
  if (typeof right === "number") return (left as readonly Element[]).flatMap(({ labels, value }) => apply(labels, value, right, value));
  if (typeof left === "number") return right.flatMap(({ labels, value }) => apply(labels, left, value, value));
  return left.flatMap((element) => {
    const [partner, ...more] = right.filter((other) => matches(query.on, element, other));
    if (more.length > 0 || left.filter((other) => matches(query.on, element, other)).length > 1)
      throw new Error(`"${operator}" finds several series to match`);
    return partner === undefined ? [] : apply(element.labels, element.value, partner.value, element.value);
  });
}

function combineSets(
  operator: "and" | "or" | "unless",
  on: readonly string[] | undefined,
  left: number | readonly Element[],
  right: number | readonly Element[],
): readonly Element[] {
  if (typeof left === "number" || typeof right === "number") throw new Error(`"${operator}" is between vectors`);
  const isMatched = (element: Element, others: readonly Element[]): boolean => others.some((other) => matches(on, element, other));
  if (operator === "or") return [...left, ...right.filter((element) => !isMatched(element, left))];
  return left.filter((element) => isMatched(element, right) === (operator === "and"));
}

const COMPARE: Readonly<Record<string, (left: number, right: number) => boolean>> = {
  ">": (left, right) => left > right,
  ">=": (left, right) => left >= right,
  "<": (left, right) => left < right,
  "<=": (left, right) => left <= right,
  "==": (left, right) => left === right,
  "!=": (left, right) => left !== right,
};
const CALCULATE: Readonly<Record<string, (left: number, right: number) => number>> = {
  "+": (left, right) => left + right,
  "-": (left, right) => left - right,
  "*": (left, right) => left * right,
  "/": (left, right) => left / right,
};

const compare = (operator: string, left: number, right: number): boolean => COMPARE[operator]?.(left, right) ?? false;
const calculate = (operator: string, left: number, right: number): number => CALCULATE[operator]?.(left, right) ?? Number.NaN;
const matches = (on: readonly string[] | undefined, left: Element, right: Element): boolean =>
  on === undefined
    ? keyOf(left.labels) === keyOf(right.labels)
    : on.every((label) => (left.labels[label] ?? "") === (right.labels[label] ?? ""));
const pick = (labels: Element["labels"], names: readonly string[]): Element["labels"] =>
  Object.fromEntries(names.filter((name) => name in labels).map((name) => [name, labels[name] ?? ""]));
const keyOf = (labels: Element["labels"]): string =>
  JSON.stringify(Object.entries(labels).toSorted(([left], [right]) => (left < right ? -1 : 1)));
