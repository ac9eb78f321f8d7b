import { fileURLToPath } from "node:url";
import { API, type Checker, type Type } from "typescript/unstable/sync";

/** A field of an object of an SDK's request: by the object's name in the SDK. */
interface SDKField {
  readonly type: string;
  readonly field: string;
  /** The objects that it holds, or that its elements are. */
  readonly holds: readonly string[];
}

const FOLDER = new URL("../", import.meta.url);

/** Every object that each request of `sdk-requests.ts` can have, with its fields; the first is the request itself. */
export function readSDKFields(): ReadonlyMap<string, readonly SDKField[]> {
  const api = new API({ cwd: fileURLToPath(FOLDER) });
  try {
    const [project] = api.updateSnapshot({ openProjects: [fileURLToPath(new URL("tsconfig.json", FOLDER))] }).getProjects();
    const declaration = project?.program.getSourceFile(fileURLToPath(new URL("test/sdk-requests.ts", FOLDER)))?.statements.at(-1);
    const requests =
      project && declaration && project.checker.getTypeAtLocation((declaration as unknown as { name: typeof declaration }).name);
    if (!requests) throw new Error("the SDKs' requests cannot be read");
    const { checker } = project;
    return new Map(
      checker.getPropertiesOfType(requests).map((property) => {
        const type = checker.getTypeOfSymbol(property);
        return [property.name, type ? walk(checker, type) : []] as const;
      }),
    );
  } finally {
    api.close();
  }
}

function walk(checker: Checker, root: Type): readonly SDKField[] {
  const seen = new Set<string>();
  const found: SDKField[] = [];
  const visit = (type: Type): void => {
    const name = nameOf(type);
    if (seen.has(name)) return;
    seen.add(name);
    for (const property of checker.getPropertiesOfType(type)) {
      const held = objectsIn(checker, checker.getTypeOfSymbol(property));
      found.push({ type: name, field: property.name, holds: held.map(nameOf) });
      held.forEach(visit);
    }
  };
  visit(root);
  return found;
}

/** The objects with names of their own that a value can be, or that its elements can be; maps of the caller's own names are none. */
function objectsIn(checker: Checker, type: Type | undefined): readonly Type[] {
  if (!type) return [];
  if (type.isUnionType() || type.isIntersectionType()) return (type.getTypes() ?? []).flatMap((one) => objectsIn(checker, one));
  if (checker.isArrayType(type)) return checker.getTypeArguments(type as never).flatMap((one) => objectsIn(checker, one));
  return type.isObjectType() && checker.getPropertiesOfType(type).length > 0 && checker.getIndexInfosOfType(type).length === 0
    ? [type]
    : [];
}

/** `ChatCompletionContentPart.File`: a type within a namespace has its name, too. Anthropic's beta has the same types under another beginning. */
function nameOf(type: Type): string {
  const symbol = type.getSymbol();
  const parent = symbol?.getParent();
  const within = parent && !/^["']/.test(parent.name) ? `${parent.name}.` : "";
  return `${within}${symbol?.name ?? "?"}`.replace(/^Beta(?=[A-Z])/, "");
}
