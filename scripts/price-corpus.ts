import { readPriceCases, readStreamed, readWhole, rowOf } from "@proliferate/metering/test/price-corpus/price-corpus";

/**
 * Prints the price corpus as a table: each answer, what it must cost by the provider's public rule, what it costs here
 * whole and streamed, and the page. Exits 1 if one differs.
 *
 *   node scripts/price-corpus.ts
 */
let wrong = 0;
console.log("| case | finding | must cost | whole | streamed | flagged | rule | page |\n|---|---|---|---|---|---|---|---|");
for (const given of readPriceCases()) {
  const whole = rowOf(given, readWhole(given));
  const reading = readStreamed(given, []);
  const streamed = reading ? rowOf(given, reading) : whole;
  const isRight =
    whole.spend === given.row.spend &&
    streamed.spend === given.row.spend &&
    whole.unknown_usage.join() === (given.row.unknown_usage ?? []).join();
  if (!isRight) wrong += 1;
  console.log(
    `| ${given.name} | ${given.finding} | ${given.row.spend} | ${whole.spend} | ${streamed.spend} | ${whole.unknown_usage.join(", ")} | ${given.rule} | ${given.source} |${isRight ? "" : " WRONG"}`,
  );
}
if (wrong > 0) {
  console.error(`${wrong} cases cost something else than their provider's page says`);
  process.exitCode = 1;
}
