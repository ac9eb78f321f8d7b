import { expect, test } from "vitest";
import { evaluate } from "./evaluate.ts";
import { parsePromQuery } from "./prom-query.ts";
import { parseMetricsPage } from "./scrape.ts";

const NOW_MS = Date.UTC(2026, 10, 21);
const HOUR_MS = 3_600_000;

/** The query's answer on these pages, one a scrape, the last as of now and an hour after the one before. */
function ask(text: string, ...pages: readonly string[]): Readonly<Record<string, number>> {
  const scrapes = pages.map((page, index) => ({
    takenAtMs: NOW_MS - (pages.length - 1 - index) * HOUR_MS,
    series: parseMetricsPage(page),
  }));
  return Object.fromEntries(evaluate(parsePromQuery(text), scrapes, NOW_MS).map(({ labels, value }) => [JSON.stringify(labels), value]));
}

test.each([
  ["max(m) > 1", { "{}": 3 }],
  ["max(m) > 3", {}],
  ["min by (job) (m)", { '{"job":"a"}': 2, '{"job":"b"}': 3 }],
  ["m > 2", { '{"job":"b","of":"x"}': 3 }],
  ['m{job="a"} == 2', { '{"job":"a","of":"x"}': 2 }],
  ['m{job!="a"}', { '{"job":"b","of":"x"}': 3 }],
  ["sum(m) - 1 * 2", { "{}": 3 }],
  ["min by (job) (m) > on (job) 2 * max by (job) (n) + 0", { '{"job":"b"}': 3 }],
  ['max by (job) (m) unless on (job) n{job="a"}', { '{"job":"b"}': 3 }],
  ["max by (job) (m) and on () max(n) == 1", { '{"job":"a"}': 2, '{"job":"b"}': 3 }],
  ["max by (job) (m) and on () max(n) == 2", {}],
  ["absent(m)", {}],
  ["absent(o)", { "{}": 1 }],
  ["max(m) > max(m offset 1h)", {}],
])("%s is answered as Prometheus does", (query, answer) => {
  expect(ask(query, '# HELP m of the test\nm{job="a",of="x"} 2\nm{job="b",of="x"} 3\nn{job="a"} 1\nn{job="b"} 1')).toEqual(answer);
});

test("an offset looks at the page of that time, and a page older than five minutes counts no more", () => {
  expect(ask("max(m) > max(m offset 1h)", "m 1", "m 2")).toEqual({ "{}": 2 });
  expect(ask("max(m)", "m 1", "n 2")).toEqual({});
});

test.each(["max(m >", "max by job (m)", "m{a=}", "m{a='b'", "", "m == == 1"])("%s is refused: it is no PromQL", (query) => {
  expect(() => parsePromQuery(query)).toThrow(/not PromQL at|not one expression/);
});

test.each(["rate(m[5m]) > 0", 'm{job=~"a.*"}', "topk(3, m)", "m > bool 1", "max without (job) (m)"])(
  "%s is refused: nothing here could check it",
  (query) => {
    expect(() => parsePromQuery(query)).toThrow(/not of the part of PromQL/);
  },
);

test("two series on one side of a comparison are refused, as Prometheus refuses them", () => {
  expect(() => ask("m > on (job) n", 'm{job="a",of="x"} 1\nm{job="a",of="y"} 2\nn{job="a"} 0')).toThrow(/several series/);
});
