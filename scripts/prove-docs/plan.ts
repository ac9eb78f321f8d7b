import type { DocumentCommand } from "./document-commands.ts";
import { reasonLeftOut } from "./left-out.ts";

/** What a page leaves to its reader: the word that it prints, and where the run takes it from. */
export interface Placeholders {
  readonly requestId: string;
  readonly pack: string;
  readonly stackPort: string;
  readonly gatewayUrl: string;
  readonly dataPlaneUrl: string;
}

type PlannedCommand =
  | { readonly kind: "run"; readonly statuses: readonly number[]; fill(placeholders: Placeholders): string }
  | { readonly kind: "left out"; readonly reason: string }
  | { readonly kind: "unknown" };

/** What runs: our own commands, and requests to the stack. */
const RUNNABLE = /^(?:[A-Z][A-Z0-9_]*=\S+ )*(?:\.\/scripts\/(?:billing|session|pack-shared\.sh)\b|node scripts\/migrate\.ts\b|curl )/;

/** Statuses that a page means where it does not mean 0. */
const STATUSES: readonly { readonly command: RegExp; readonly statuses: readonly number[] }[] = [
  // "Status 5 when a check found something that a person must look at": a pack in review is such a thing, and may stand.
  { command: /^\.\/scripts\/billing (status|doctor|reconcile)\b/, statuses: [0, 5] },
];

/** A span such as `./scripts/billing reprice` names a command; without what it requires it says so. */
const NAMED_ONLY = /^\.\/scripts\/billing (reprice|reconcile|top-up settle|explain|redrive)$/;

/** How a command of a page is proven, or why it is not. */
export function planFor({ text }: DocumentCommand): PlannedCommand {
  const reason = reasonLeftOut(text);
  if (reason !== undefined) return { kind: "left out", reason };
  if (!RUNNABLE.test(text)) return { kind: "unknown" };
  const filled = (placeholders: Placeholders): string => fillIn(text, placeholders);
  if (leftoverOf(filled({ requestId: "r", pack: "p", stackPort: "1", gatewayUrl: "u", dataPlaneUrl: "u" })) !== undefined)
    return { kind: "unknown" };
  if (NAMED_ONLY.test(text)) return { kind: "run", statuses: [0], fill: (placeholders) => `${filled(placeholders)} --help` };
  return { kind: "run", statuses: STATUSES.find(({ command }) => command.test(text))?.statuses ?? [0], fill: filled };
}

/** The command as it is run: the reader's words filled in, addresses those of the stack. */
export function fillIn(command: string, { requestId, pack, stackPort, gatewayUrl, dataPlaneUrl }: Placeholders): string {
  return (
    command
      .replaceAll(/<request id>|\bREQUEST_ID\b/g, requestId)
      .replaceAll(/\bPACK\b/g, pack)
      .replaceAll(/--stack PORT\b/g, `--stack ${stackPort}`)
      .replaceAll(/\bhttp:\/\/(localhost|127\.0\.0\.1):8787\b/g, gatewayUrl)
      .replaceAll(/\bhttp:\/\/(localhost|127\.0\.0\.1):4000\b/g, dataPlaneUrl)
      // What a command writes belongs to the run, not to the checkout.
      .replace(/ > (\S+)$/, ' > "$PROVE_FOLDER/$1"')
      // An answer of 400 or more is a failure, which curl does not say by itself.
      .replace(/^curl /, "curl --fail-with-body ")
  );
}

/** A word that the reader was to replace, and nobody did. */
function leftoverOf(command: string): string | undefined {
  const bare = command.replaceAll(/'[^']*'|"[^"]*"|\$[A-Z_]+|\b[A-Z][A-Z0-9_]*=/g, "");
  return /(?:^|\s)([A-Z][A-Z_]{2,})\b|<[a-z _]+>|…/.exec(bare)?.[0];
}
