import { expect, it } from "vitest";
import { KnownTeams } from "./known-teams.ts";

it("forgets the org that was unused for longest when it is full", () => {
  const teams = new KnownTeams(2);
  teams.add("a");
  teams.add("b");
  expect(teams.has("a")).toBe(true);

  teams.add("c");

  expect([teams.has("a"), teams.has("b"), teams.has("c")]).toEqual([true, false, true]);
});

it("stays as small as it is told for any number of orgs", () => {
  const teams = new KnownTeams(3);
  for (let org = 0; org < 100; org += 1) teams.add(String(org));

  expect(Array.from({ length: 100 }, (_, org) => teams.has(String(org))).filter(Boolean)).toHaveLength(3);
});
