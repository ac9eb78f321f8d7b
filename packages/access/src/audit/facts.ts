import { hash } from "node:crypto";
import { CALLER_KINDS } from "../principals/index.ts";

/** What stands in the place of a secret. */
const MASK = "***";
/** A field whose name says so holds a secret, whoever put it there. */
const SECRET_NAME = /secret|passw|api[-_]?key|private|credential|authorization|bearer/i;
/** The beginning of a credential, not within a word. */
const KEYS = new RegExp(`(^|[^A-Za-z0-9])(${CALLER_KINDS.map(({ prefix }) => prefix).join("|")})`);
/** Of more than this no more than its size and hash is kept: who set it has it. */
const MOST_BYTES = 16 * 1024;
const MOST_DEPTH = 16;

/** Of these nobody has to be told: they follow from the rest. */
const NOT_TOLD = new Set(["updated_at", "updated_by", "spend", "key_count"]);

type Row = Readonly<Record<string, unknown>>;

/** The fields in which two states of something differ, without secrets; all fields of one that was made or deleted. Undefined where none does. */
export function difference(
  before: Row | undefined,
  after: Row | undefined,
): { readonly before: Row | null; readonly after: Row | null } | undefined {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].filter((name) => !NOT_TOLD.has(name));
  const differing = names.filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]));
  if (differing.length === 0) return undefined;
  const of = (row: Row | undefined): Row | null =>
    row === undefined ? null : Object.fromEntries(differing.map((name) => [name, told(name, row[name])]));
  return { before: of(before), after: of(after) };
}

function told(name: string, value: unknown): unknown {
  const masked = withoutSecrets(name, value, 0);
  const text = JSON.stringify(masked) ?? "null";
  return text.length <= MOST_BYTES ? masked : { bytes: Buffer.byteLength(text), sha256: hash("sha256", text, "hex") };
}

function withoutSecrets(name: string, value: unknown, depth: number): unknown {
  if (value === null || value === undefined || typeof value === "boolean" || typeof value === "number") return value ?? null;
  if (SECRET_NAME.test(name) || depth > MOST_DEPTH) return MASK;
  if (typeof value === "string") return KEYS.test(value) && !isAbbreviated(value) ? MASK : value;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map((item) => withoutSecrets("", item, depth + 1));
  return Object.fromEntries(Object.entries(value as Row).map(([member, inner]) => [member, withoutSecrets(member, inner, depth + 1)]));
}

/** `sk-...abcd`, as a key's row has it to be shown. */
const isAbbreviated = (text: string): boolean => /^[a-z]+[-_]\.\.\..{0,4}$/.test(text);
