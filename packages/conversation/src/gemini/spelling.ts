import { Fields, type Place } from "../fields.ts";
import { isObject } from "../json.ts";
import { malformed, type Notes } from "../notes.ts";

/** An object of a body whose fields may stand in either spelling of Google's: `systemInstruction` is `system_instruction`, too. Throws `invalid_request` for one that stands twice. */
export function fieldsOf<Name extends string>(at: Place<Name>, value: unknown, path: string, notes: Notes): Fields<Name> {
  if (!isObject(value) || !Object.keys(value).some((name) => name.includes("_"))) return new Fields(at, value, path, notes);
  const entries = Object.entries(value).map(([name, field]) => [spelled(at, name), field] as const);
  const twice = entries.find(([name], index) => entries.findIndex(([other]) => other === name) !== index);
  if (twice) throw malformed(path === "" ? twice[0] : `${path}.${twice[0]}`, "is given twice");
  return new Fields(at, Object.fromEntries(entries), path, notes);
}

/** The other spelling of a field that the place has; any other name as it is. */
function spelled(at: Place, name: string): string {
  const camel = name.replaceAll(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase());
  return Object.hasOwn(at.fields, camel) ? camel : name;
}
