import type { RequestFacts } from "./request-facts.ts";
import type { ReadBody } from "../http/read-body.ts";
import type { AskedInPath } from "@proliferate/conversation";
import { type EditableFields, FactCollector } from "./fact-collector.ts";
import { JsonScanner } from "./json-scanner.ts";
import type { CompiledPlace } from "./place.ts";
import type { ScanTurns } from "./scan-turns.ts";

/** A body as it came, and what it says; everything else in it is the provider's to judge. */
export interface RequestBody extends ReadBody {
  readonly facts: RequestFacts;
  readonly positions: Readonly<EditableFields>;
}

/** `inPath`: what the path says in place of the body. Throws `invalid_json`, and `invalid_request` on what is not to be forwarded. A large body is read in turn with others. */
export async function readRequestBody(read: ReadBody, fields: CompiledPlace, turns: ScanTurns, inPath?: AskedInPath): Promise<RequestBody> {
  const collector = new FactCollector(read.bytes.length, inPath);
  await turns.run(new JsonScanner(read.bytes, fields, collector));
  return { ...read, facts: collector.facts(), positions: collector.positions };
}
