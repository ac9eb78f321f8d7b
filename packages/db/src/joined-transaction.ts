import type { Transaction } from "kysely";
import type { DatabaseClient } from "./client.ts";
import type { Database } from "./schema.ts";

/**
 * The transaction as a client: what begins a transaction on it takes part in this one, so that several pieces of work, each of which is
 * atomic by itself, are so together. Whoever catches an error of the database within goes on in a transaction that is over.
 */
export function joinTransaction(tx: Transaction<Database>): DatabaseClient {
  return new Proxy(tx, {
    get: (target, name) => {
      if (name === "transaction")
        return () => ({ execute: async <Result>(work: (inner: Transaction<Database>) => Promise<Result>) => work(target) });
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
