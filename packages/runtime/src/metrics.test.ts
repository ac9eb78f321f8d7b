import { expect, onTestFinished, test, vi } from "vitest";
import { createMetricsPage, type MetricFamily } from "./metrics.ts";

const family = (value: number | string): MetricFamily => ({
  name: "example_rows",
  help: "Rows.",
  samples: [
    { labels: { state: "open" }, value },
    { labels: { state: 'with "quotes"' }, value: 0 },
  ],
});

test("a page has every sample of its sources, and Node's own metrics", async () => {
  const page = createMetricsPage([{ name: "example", collect: async () => [family("1.5")] }]);

  const text = await page.text();

  expect(page.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(text).toContain('# TYPE example_rows gauge\nexample_rows{state="open"} 1.5\nexample_rows{state="with \\"quotes\\""} 0\n');
  expect(text).toContain('llm_gateway_metrics_source_up{source="example"} 1');
  expect(text).toContain("process_resident_memory_bytes");
});

test("a source that fails is shown as down, hides no other, and is asked again", async () => {
  let fails = true;
  const flaky = async (): Promise<readonly MetricFamily[]> => {
    if (fails) throw new Error("no database");
    return [family(7)];
  };
  const page = createMetricsPage([
    { name: "flaky", collect: flaky },
    { name: "good", collect: async () => [] },
  ]);

  expect(await page.text()).toMatch(/source_up\{source="flaky"\} 0\n.*source_up\{source="good"\} 1/s);
  fails = false;
  expect(await page.text()).toContain('example_rows{state="open"} 7');
});

test("many scrapes at once, and soon after, are one collection", async () => {
  let collections = 0;
  const page = createMetricsPage([{ name: "counted", collect: async () => [family(++collections)], maxAgeMs: 60_000 }]);

  const texts = [...(await Promise.all([page.text(), page.text(), page.text()])), await page.text()];

  expect(collections).toBe(1);
  expect(texts.every((text) => text.includes('example_rows{state="open"} 1'))).toBe(true);
});

test("a source that takes long holds up no page: the page has what it told last, with its age, and the next page what it tells now", async () => {
  let collection = Promise.withResolvers<readonly MetricFamily[]>();
  const page = createMetricsPage([{ name: "slow", collect: () => collection.promise, maxAgeMs: 0, patienceMs: 20 }]);

  expect(await page.text()).not.toContain("source_up{");
  collection.resolve([family(1)]);
  expect(await page.text()).toContain('example_rows{state="open"} 1');
  collection = Promise.withResolvers();
  await expect
    .poll(() => page.text())
    .toMatch(/source_up\{source="slow"\} 1\n.*source_age_seconds\{source="slow"\} [\d.e-]+\n.*example_rows\{state="open"\} 1\n/s);
  collection.resolve([family(2)]);
  await expect.poll(() => page.text()).toContain('example_rows{state="open"} 2');
});

test("a source that takes long is asked ten times as rarely", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  let collections = 0;
  const collect = async (): Promise<readonly MetricFamily[]> => {
    collections += 1;
    vi.advanceTimersByTime(100);
    return [];
  };
  const page = createMetricsPage([{ name: "slow", collect, maxAgeMs: 0 }]);

  await page.text();
  vi.advanceTimersByTime(899);
  await page.text();
  const beforeItsTime = collections;
  vi.advanceTimersByTime(1);
  await page.text();

  expect([beforeItsTime, collections]).toEqual([1, 2]);
});
