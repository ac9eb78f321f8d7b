import { MOST_MODEL_NAME_CHARACTERS } from "@proliferate/shared/contracts";

/** What a key and its team call models: `{"gpt-4o": "ws_x/gpt-4o"}`. As the tables have it, so perhaps no map at all. */
export interface AliasOwner {
  /** Of the key. */
  readonly aliases: unknown;
  readonly teamAliases: unknown;
}

/** What one map makes of a name; the name itself where it says nothing that can be read. */
function targetOf(aliases: unknown, name: string): string {
  if (typeof aliases !== "object" || aliases === null || name.length > MOST_MODEL_NAME_CHARACTERS) return name;
  if (!Object.hasOwn(aliases, name)) return name;
  const target = (aliases as Readonly<Record<string, unknown>>)[name];
  return typeof target === "string" && target.length <= MOST_MODEL_NAME_CHARACTERS ? target : name;
}

/**
 * The name that is served where a caller asks for one: what its team makes of it, and its key of that, as LiteLLM does it. One step of each:
 * an alias that leads to another of the same map is not followed further.
 */
export function servedName({ aliases, teamAliases }: AliasOwner, asked: string): string {
  return targetOf(aliases, targetOf(teamAliases, asked));
}

/** The names that are aliases to a caller, in the order of its maps. */
export function aliasesOf({ aliases, teamAliases }: AliasOwner): readonly string[] {
  const names = [teamAliases, aliases].flatMap((map) => (typeof map === "object" && map !== null ? Object.keys(map) : []));
  return [...new Set(names)];
}

/** Whether it is the team alone that makes one name of the other: then a list that names either means both. */
export function isTeamAlias({ teamAliases }: Partial<AliasOwner>, asked: string, served: string): boolean {
  return asked !== served && targetOf(teamAliases, asked) === served;
}
