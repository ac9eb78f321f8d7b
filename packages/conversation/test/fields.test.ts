import { describe, expect, test } from "vitest";
import { CODECS } from "../src/codecs.ts";
import { readSDKFields } from "./sdk-fields.ts";

const REQUESTS = readSDKFields();

/** What a codec does with the fields of an SDK, and the fields that it says nothing of. */
function missing(codecName: string, request: string): readonly string[] {
  const codec = CODECS.find(({ name }) => name === codecName);
  const fields = REQUESTS.get(request) ?? [];
  const [root] = fields;
  if (!codec || !root) throw new Error(`${request} has no fields`);
  const reached = new Set([root.type]);
  const wrong: string[] = [];
  // A set grows while it is walked, and what was added comes, too.
  for (const type of reached) {
    if (type in codec.refusedTypes) continue;
    const places =
      type === root.type ? codec.places.filter(({ path }) => path === "") : codec.places.filter(({ types }) => types.includes(type));
    if (places.length === 0) wrong.push(type);
    for (const { field, holds } of fields.filter((one) => one.type === type && places.length > 0)) {
      const fates = places.flatMap((place) => (Object.hasOwn(place.fields, field) ? [place.fields[field]] : []));
      if (fates.length === 0) wrong.push(`${type}.${field}`);
      const held = fates.some((one) => one?.fate === "read") ? holds : [];
      held.forEach((one) => reached.add(one));
    }
  }
  return wrong;
}

describe.each([...REQUESTS.keys()])("%s", (request) => {
  test("every field of the SDK's request has a fate in the table, as far as a body can reach it", () => {
    expect(REQUESTS.get(request)?.length).toBeGreaterThan(40);
    expect(missing(request.replace(/ .*$/, ""), request)).toEqual([]);
  });
});
