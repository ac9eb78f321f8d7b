import type { ColumnType, JSONColumnType } from "kysely";

/** NUMERIC and DOUBLE: read as exact text, written as text. */
export type Amount = ColumnType<string, string, string>;
export type AmountWithDefault = ColumnType<string, string | undefined, string>;
export type Instant = ColumnType<Date, Date | string, Date | string>;
export type InstantWithDefault = ColumnType<Date, Date | string | undefined, Date | string>;
/** BIGINT: read as text. */
export type BigInteger = ColumnType<string, string | number | bigint, string | number | bigint>;
export type Json = JSONColumnType<Record<string, unknown>, string | undefined, string>;
