import { expect, test } from "vitest";
import { createMetricsPage, type MetricFamily } from "./metrics.ts";

const family = (value: number | string): MetricFamily => ({ name: "example_rows", help: "Rows.", samples: [{ labels: { state: "open" }, value }, { labels: { state: 'with "quotes"' }, value: 0 }] });

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
  const page = createMetricsPage([{ name: "flaky", collect: flaky }, { name: "good", collect: async () => [] }]);

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
