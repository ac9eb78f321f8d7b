import type { ColumnType, JSONColumnType } from "kysely";

/** NUMERIC and DOUBLE: read as exact text, written as text. */
export type Amount = ColumnType<string, string, string>;
/** As `Amount`, in a column that has a default: it may be left out of an insert. */
export type AmountWithDefault = ColumnType<string, string | undefined, string>;
/** A moment: read as a Date, written as a Date or as ISO 8601 text. */
export type Instant = ColumnType<Date, Date | string, Date | string>;
/** As `Instant`, in a column that has a default. */
export type InstantWithDefault = ColumnType<Date, Date | string | undefined, Date | string>;
/** BIGINT: read as text. */
export type BigInteger = ColumnType<string, string | number | bigint, string | number | bigint>;
/** A JSON column: read parsed, written as JSON text, so that no array is taken for one of PostgreSQL. */
export type Json = JSONColumnType<Record<string, unknown>, string | undefined, string>;
