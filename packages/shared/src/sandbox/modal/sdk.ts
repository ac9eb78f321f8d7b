import { createRequire } from "node:module";
import type * as ModalSdk from "modal";
import type { ModalClient, Sandbox as ModalSandbox } from "modal";
import { AppError } from "../../errors/index.ts";

/** The one file that knows the `modal` package. It is an optional peer, loaded when a Modal sandbox is first asked for. */
export type { ModalClient, ModalSandbox };
export type { App as ModalApp, Image as ModalImage } from "modal";

/** A token of Modal. Secret. */
export interface ModalCredentials {
  /** `ak-…` */
  readonly tokenId: string;
  /** `as-…` */
  readonly tokenSecret: string;
  /** Modal environment. Default: that of the token's profile. */
  readonly environment?: string;
}

/**
 * A client for this token. The address is Modal's, or MODAL_SERVER_URL where the SDK finds that set. Nothing is sent yet.
 * Throws `sandbox_provider_unauthorized` for a token that cannot be one, and `sandbox_refused` where the package is missing
 * or is the unrelated one that npm's `latest` names.
 */
export async function createModalClient(credentials: ModalCredentials): Promise<ModalClient> {
  checkTokenShape(credentials);
  const { tokenId, tokenSecret, environment } = credentials;
  const sdk = await loadSdk();
  if (typeof sdk.ModalClient !== "function") {
    throw new AppError("sandbox_refused", "The installed package modal is not the Modal Labs SDK: install modal@0.11.1 exactly.");
  }
  return new sdk.ModalClient({ tokenId, tokenSecret, ...(environment !== undefined && { environment }), logLevel: "error" });
}

/** From this package or, where that is a link into a workspace and so sees none of its peers, from the program that runs. */
async function loadSdk(): Promise<typeof ModalSdk> {
  try {
    return await import("modal").catch(() => import(createRequire(process.argv[1] ?? "/").resolve("modal")) as Promise<typeof ModalSdk>);
  } catch (error) {
    throw new AppError("sandbox_refused", "The package modal is not installed: add modal@0.11.1 (not latest, which is another package).", {
      cause: error,
    });
  }
}

function checkTokenShape({ tokenId, tokenSecret }: ModalCredentials): void {
  if (tokenId.startsWith("as-") && tokenSecret.startsWith("ak-"))
    throw unauthorized("MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are swapped: the id is the one that begins with ak-.");
  if (!/^ak-\S+$/.test(tokenId)) throw unauthorized("MODAL_TOKEN_ID must begin with ak- and have no blanks.");
  if (!/^as-\S+$/.test(tokenSecret)) throw unauthorized("MODAL_TOKEN_SECRET must begin with as- and have no blanks.");
}

const unauthorized = (message: string): AppError => new AppError("sandbox_provider_unauthorized", message);
