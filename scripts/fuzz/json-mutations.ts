import type { Choices } from "./random.ts";

/** JSON as text, which its mutations may have made into none. */

/** Text that stands for a value as it is. */
class Spelled {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** An object whose names may come twice. */
class Members {
  readonly list: [string, unknown][];
  constructor(list: [string, unknown][]) {
    this.list = list;
  }
}

function opened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== "object" || value === null) return value;
  return new Members(Object.entries(value).map(([name, member]) => [name, opened(member)]));
}

function written(value: unknown): string {
  if (value instanceof Spelled) return value.text;
  if (value instanceof Members) return `{${value.list.map(([name, member]) => `${JSON.stringify(name)}:${written(member)}`).join(",")}}`;
  if (Array.isArray(value)) return `[${value.map(written).join(",")}]`;
  return JSON.stringify(value) ?? "null";
}

/** Where a value stands: it can be read, put elsewhere and taken out. */
interface Place {
  readonly get: () => unknown;
  readonly set: (value: unknown) => void;
  readonly remove: () => void;
  /** Once more, behind it. */
  readonly double: (value: unknown) => void;
}

function placesOf(value: unknown): readonly Place[] {
  if (value instanceof Members) {
    return value.list.flatMap((member) => [
      {
        get: () => member[1],
        set: (other: unknown) => void (member[1] = other),
        remove: () => void value.list.splice(value.list.indexOf(member), 1),
        double: (other: unknown) => void value.list.splice(value.list.indexOf(member) + 1, 0, [member[0], other]),
      },
      ...placesOf(member[1]),
    ]);
  }
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown, index) => [
    {
      get: () => value[index] as unknown,
      set: (other: unknown) => void (value[index] = other),
      remove: () => void value.splice(index, 1),
      double: (other: unknown) => void value.splice(index + 1, 0, other),
    },
    ...placesOf(item),
  ]);
}

const NUMBERS = [
  "0",
  "-1",
  "1",
  "1.5",
  "-0",
  "1e400",
  "-1e400",
  "1e-400",
  "9007199254740993",
  "2147483648",
  "1E+2",
  "0.1",
  "00",
  "+1",
  "NaN",
];
const TEXTS = [
  "",
  " ",
  "\u0000",
  "\uFEFF",
  "../../..",
  "__proto__",
  "constructor",
  "claude-opus-4-8",
  "gpt-5",
  "*",
  "ü漢😀",
  "true",
  "null",
];
const SPELLED = ['"\\ud800"', '"\\u0000"', '"\\x"', '"\t"', "'text'", "undefined", "[1,]", '{"a":1,}', "/* */1", '"unended', "tru", ""];
const FIELDS: readonly (readonly [string, unknown])[] = [
  ["stream", true],
  ["stream", "true"],
  ["stream", null],
  ["stream_options", { include_usage: false }],
  ["n", 1_000],
  ["n", "2"],
  ["max_tokens", 1e9],
  ["max_tokens", -1],
  ["max_output_tokens", 0],
  ["speed", "fast"],
  ["service_tier", "priority"],
  ["inference_geo", "us"],
  ["store", true],
  ["background", true],
  ["previous_response_id", "resp_1"],
  ["tools", [{ type: "web_search_20250305", name: "web_search" }]],
  ["tools", [{ type: "code_interpreter", container: { type: "auto" } }]],
  ["fallbacks", ["claude-opus-4-8"]],
  ["model", ["gpt-4o-mini"]],
  ["model", "no-such-model"],
  ["__proto__", { model: "gpt-4o-mini" }],
  ["constructor", { prototype: {} }],
  ["toString", 1],
];

const deep = (depth: number, [open, close]: readonly [string, string], end: string): Spelled =>
  new Spelled(`${open.repeat(depth)}${end}${close.repeat(depth)}`);

function anyValue(choices: Choices): unknown {
  switch (choices.below(9)) {
    case 0:
      return new Spelled(choices.of(NUMBERS));
    case 1:
      return choices.of(TEXTS);
    case 2:
      return choices.of([null, true, false, [], {}]);
    case 3:
      return new Spelled(choices.of(SPELLED));
    case 4:
      return "x".repeat(choices.percent(2) ? 1_500_000 : 1 + choices.below(20_000));
    case 5:
      return deep(
        1 + choices.below(choices.percent(5) ? 50_000 : 300),
        choices.of([
          ["[", "]"],
          ['{"a":', "}"],
          ['[{"content":', "}]"],
        ] as const),
        choices.of(["1", '""', ""]),
      );
    case 6:
      return Array.from({ length: choices.below(choices.percent(5) ? 20_000 : 50) }, () => choices.of(TEXTS));
    case 7:
      return new Spelled(`{${Array.from({ length: choices.below(400) }, (_, at) => `"k${at}":${choices.of(NUMBERS)}`).join(",")}}`);
    default:
      return new Spelled(`${choices.below(2) ? "-" : ""}${"9".repeat(1 + choices.below(400))}`);
  }
}

/** What holds itself has no end. */
const copyOf = (value: unknown): Spelled => new Spelled(written(value));

function change(choices: Choices, root: { value: unknown }): void {
  const places = placesOf(root.value);
  if (places.length === 0 || choices.percent(2)) return void (root.value = anyValue(choices));
  const place = choices.of(places);
  switch (choices.below(7)) {
    case 0:
      return place.remove();
    case 1:
      return place.double(choices.percent(50) ? copyOf(place.get()) : anyValue(choices));
    case 2:
      return place.set(copyOf(choices.of(places).get()));
    case 3:
      return place.set([place.get()]);
    case 4: {
      if (!(root.value instanceof Members)) return place.set(anyValue(choices));
      const [name, value] = choices.of(FIELDS);
      return void root.value.list.splice(choices.below(root.value.list.length + 1), 0, [name, opened(value)]);
    }
    default:
      return place.set(anyValue(choices));
  }
}

/** The value as JSON, with so many changes of its structure: fields dropped, doubled, moved, of other types, huge, deep, unreadable. */
export function mutateJson(choices: Choices, value: unknown, changes: number): string {
  const root = { value: opened(value) };
  for (let index = 0; index < changes; index += 1) change(choices, root);
  return written(root.value);
}

/** The bytes with so many changes that know of no structure. */
export function mutateBytes(choices: Choices, bytes: Buffer, changes: number): Buffer {
  let changed = bytes;
  for (let index = 0; index < changes; index += 1) {
    const at = choices.below(changed.length + 1);
    const length = 1 + choices.below(4);
    const [before, after] = [changed.subarray(0, at), changed.subarray(at)];
    changed =
      [
        () => Buffer.concat([before, choices.bytes(length), after.subarray(length)]),
        () => Buffer.concat([before, choices.bytes(length), after]),
        () => Buffer.concat([before, after.subarray(length)]),
        () => before,
        () => Buffer.concat([before, Buffer.from(choices.of(["{", "}", "[", "]", '"', ":", ",", "\\", "\u0000", "\n", "\r"])), after]),
        () => Buffer.concat([changed, before]),
      ][choices.below(6)]?.() ?? changed;
  }
  return changed;
}
