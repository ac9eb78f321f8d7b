import { randomUUID } from "node:crypto";
import { AppError, isAppError } from "../errors/index.ts";
import { withDeadline } from "./contract/deadline.ts";
import { modalError, modalStatus } from "./modal/errors.ts";
import { ModalSandboxHandle } from "./modal/modal-sandbox.ts";
import {
  createModalClient,
  type ModalApp,
  type ModalClient,
  type ModalCredentials,
  type ModalImage,
  type ModalSandbox,
} from "./modal/sdk.ts";
import type { Sandbox, SandboxOptions, SandboxPort, SandboxProvider, SandboxState, SandboxSummary } from "./contract/provider.ts";
import { sandboxName } from "./sandbox-name.ts";
import { checkSandboxOptions } from "./contract/sandbox-options.ts";

/** What a new sandbox starts from: a tag in a public registry, or an image that Modal has built. */
export type ModalImageSource = { readonly registryTag: string } | { readonly imageId: string };

/** Which Modal app and image sandboxes are made from, and their limits. */
export interface ModalSandboxProviderOptions extends ModalCredentials {
  /** Made when missing. One app for one deployment: whatever runs in it counts as ours. Default `proliferate-sandboxes`. */
  readonly appName?: string;
  readonly image: ModalImageSource;
  /** Absolute; HOME of everything in the sandbox. Default `/root`. */
  readonly homeFolder?: string;
  /** Physical cores. Default 2. */
  readonly cpu?: number;
  /** Default 4096. */
  readonly memoryMiB?: number;
  /** Where sandboxes run. Default: where Modal has room. */
  readonly regions?: readonly string[];
  /** Milliseconds that any call but a creation may take; files and snapshots twice that. Default 30 000. */
  readonly callTimeoutMs?: number;
  /** Milliseconds that a creation may take. Building an image takes minutes the first time. Default 600 000. */
  readonly createTimeoutMs?: number;
}

const parallelCalls = 8;

const nameTag = "sandbox_name";
/** Another value for each creation, by which one whose answer was lost is told from an older sandbox of the session. */
const launchTag = "sandbox_launch";

/**
 * Sandboxes at Modal, through its SDK (`modal` 0.11.1, an optional peer of this package). They outlive this process and end
 * at their time-out. Nothing is sent before the first call, which checks the token: `sandbox_provider_unauthorized` says what
 * is wrong with it. Every call has a deadline, after which it is given up with the launcher's error for it: the SDK itself
 * waits for ever. `close` leaves running sandboxes alone.
 */
export function createModalSandboxProvider(options: ModalSandboxProviderOptions): SandboxProvider {
  return new ModalProvider(options);
}

class ModalProvider implements SandboxProvider {
  readonly kind = "modal";
  readonly #options: ModalSandboxProviderOptions;
  readonly #appName: string;
  readonly #homeFolder: string;
  readonly #callTimeoutMs: number;
  readonly #createTimeoutMs: number;
  #connection: Promise<{ client: ModalClient; app: ModalApp }> | undefined;

  constructor(options: ModalSandboxProviderOptions) {
    this.#options = options;
    this.#appName = options.appName ?? "proliferate-sandboxes";
    this.#homeFolder = options.homeFolder ?? "/root";
    this.#callTimeoutMs = options.callTimeoutMs ?? 30_000;
    this.#createTimeoutMs = options.createTimeoutMs ?? 600_000;
  }

  async create(options: SandboxOptions): Promise<Sandbox> {
    checkSandboxOptions(options);
    const { client, app } = await this.#connect();
    const secrets = Object.values(options.environment);
    const failed = `A sandbox for session ${options.sessionId} could not be created`;
    const image = await this.#image(client, options.snapshotId, failed);
    const launchId = randomUUID();
    let sandbox: ModalSandbox;
    try {
      const creation = client.sandboxes.create(app, image, this.#parameters(options, launchId));
      // A sandbox that comes after we gave up is nobody's.
      sandbox = await withDeadline(creation, this.#createTimeoutMs, {
        late: (late) => void this.terminate(late.sandboxId).catch(() => undefined),
        signal: options.signal,
      });
    } catch (error) {
      // Whoever gave it up does not wait: what comes late is ended when it comes, and what is lost is nobody's, which the reaper ends.
      if (options.signal?.aborted) throw cancelled(options.sessionId);
      const reason = modalError(error, { failed, otherwise: "sandbox_create_failed", notFound: "sandbox_refused", secrets });
      await this.#endUnanswered(client, options.sessionId, launchId, reason);
      throw reason;
    }
    try {
      const handle = await this.#handle(sandbox, sandboxName(options.sessionId), secrets);
      const missing = (options.ports ?? []).filter((port) => !handle.ports.has(port));
      if (missing.length > 0)
        throw new AppError("sandbox_create_failed", `${failed}: Modal opened no tunnel for port ${missing.join(", ")}.`);
      // What an agent has laid where a file of ours belongs must not keep its session from being launched again.
      if (options.snapshotId !== undefined) await handle.clearWay(Object.keys(options.files ?? {}), options.signal);
      await handle.writeFiles(options.files ?? {}, options.signal);
      return handle;
    } catch (error) {
      throw await this.#endFailed(sandbox, modalError(error, { failed, otherwise: "sandbox_create_failed", secrets }));
    }
  }

  async find(sessionId: string): Promise<Sandbox> {
    const name = sandboxName(sessionId);
    const { client } = await this.#connect();
    return this.#call(`The sandbox of session ${sessionId} could not be found`, async () =>
      this.#handle(await client.sandboxes.fromName(this.#appName, name), name),
    );
  }

  async list(): Promise<readonly SandboxSummary[]> {
    const { client, app } = await this.#connect();
    const sandboxes = await this.#running(client, app);
    const summaries = await inParallel(sandboxes, async (sandbox): Promise<SandboxSummary | undefined> => {
      try {
        const tags = await this.#call(`The tags of the sandbox ${sandbox.sandboxId} could not be read`, () => sandbox.getTags());
        return { id: sandbox.sandboxId, name: tags[nameTag] ?? "" };
      } catch (error) {
        if (isAppError(error, "sandbox_not_found")) return undefined;
        throw error;
      }
    });
    return summaries.filter((summary) => summary !== undefined);
  }

  /** None to be looked after: Modal deletes a file system's image after 30 days. */
  async listSnapshots(): Promise<readonly SandboxSummary[]> {
    return [];
  }

  /** One listing answers for what runs; what is missing from it is asked for by itself, so that "ended" is never a guess. */
  async checkSandboxes(ids: readonly string[]): Promise<ReadonlyMap<string, SandboxState>> {
    if (ids.length === 0) return new Map();
    const { client, app } = await this.#connect();
    const running = new Set((await this.#running(client, app)).map(({ sandboxId }) => sandboxId));
    const states = await inParallel([...new Set(ids)], async (id): Promise<[string, SandboxState]> => {
      if (running.has(id)) return [id, "running"];
      try {
        const status = await this.#call(`The state of the sandbox ${id} could not be read`, async () =>
          (await client.sandboxes.fromId(id)).poll(),
        );
        return [id, status === null ? "running" : "ended"];
      } catch (error) {
        if (isAppError(error, "sandbox_not_found")) return [id, "ended"];
        throw error;
      }
    });
    return new Map(states);
  }

  async terminate(id: string): Promise<void> {
    const { client } = await this.#connect();
    try {
      const end = async (): Promise<unknown> => (await client.sandboxes.fromId(id)).terminate({ wait: true });
      await withDeadline(end(), this.#callTimeoutMs);
    } catch (error) {
      if (modalStatus(error) === "NOT_FOUND") return;
      throw modalError(error, { failed: `The sandbox ${id} could not be ended`, otherwise: "sandbox_terminate_failed" });
    }
  }

  async terminateSession(sessionId: string): Promise<void> {
    const { client } = await this.#connect();
    try {
      const failed = `The sandbox of session ${sessionId} could not be found`;
      const { sandboxId } = await this.#call(failed, () => client.sandboxes.fromName(this.#appName, sandboxName(sessionId)));
      await this.terminate(sandboxId);
    } catch (error) {
      if (!isAppError(error, "sandbox_not_found")) throw error;
    }
  }

  async deleteSnapshot(snapshotId: string): Promise<void> {
    const { client } = await this.#connect();
    try {
      await this.#call(`The snapshot ${snapshotId} could not be deleted`, () => client.images.delete(snapshotId));
    } catch (error) {
      if (!isAppError(error, "sandbox_not_found")) throw error;
    }
  }

  async close(): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined);
    this.#connection = undefined;
    connection?.client.close();
  }

  /** The first call, by which Modal checks the token. A failure is not remembered. */
  #connect(): Promise<{ client: ModalClient; app: ModalApp }> {
    this.#connection ??= (async () => {
      const client = await createModalClient(this.#options);
      const failed = `The Modal app ${this.#appName} could not be opened`;
      return { client, app: await this.#call(failed, () => client.apps.fromName(this.#appName, { createIfMissing: true })) };
    })().catch((error: unknown) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async #image(client: ModalClient, snapshotId: string | undefined, failed: string): Promise<ModalImage> {
    const { image } = this.#options;
    if (snapshotId === undefined && "registryTag" in image) return client.images.fromRegistry(image.registryTag);
    const imageId = snapshotId ?? ("imageId" in image ? image.imageId : "");
    try {
      return await withDeadline(client.images.fromId(imageId), this.#callTimeoutMs);
    } catch (error) {
      throw modalError(error, {
        failed,
        otherwise: "sandbox_create_failed",
        notFound: snapshotId === undefined ? "sandbox_refused" : "sandbox_snapshot_not_found",
      });
    }
  }

  #parameters({ sessionId, environment, timeoutMs, ports = [] }: SandboxOptions, launchId: string) {
    const { cpu = 2, memoryMiB = 4096, regions } = this.#options;
    const name = sandboxName(sessionId);
    return {
      name,
      tags: { [nameTag]: name, [launchTag]: launchId },
      env: { ...environment, HOME: this.#homeFolder },
      // Without it Modal ends the sandbox after 300 s.
      timeoutMs,
      encryptedPorts: [...ports],
      workdir: this.#homeFolder,
      cpu,
      memoryMiB,
      ...(regions && { regions: [...regions] }),
    };
  }

  async #handle(sandbox: ModalSandbox, name: string, secrets: readonly string[] = []): Promise<ModalSandboxHandle> {
    const tunnels = Object.entries(await withDeadline(sandbox.tunnels(this.#callTimeoutMs), this.#callTimeoutMs));
    const ports = tunnels.map(([port, { host, url }]): [number, SandboxPort] => [
      Number(port),
      // Modal's tunnels speak TLS. Only a stand-in is on loopback, where the SDK drops TLS as well.
      { listenPort: Number(port), listenHostname: "0.0.0.0", url: host === "127.0.0.1" ? url.replace("https:", "http:") : url },
    ]);
    return new ModalSandboxHandle(sandbox, {
      name,
      homeFolder: this.#homeFolder,
      ports: new Map(ports),
      secrets,
      callTimeoutMs: this.#callTimeoutMs,
      deleteSnapshot: (id) => this.deleteSnapshot(id),
      terminate: (id) => this.terminate(id),
    });
  }

  async #running(client: ModalClient, app: ModalApp): Promise<ModalSandbox[]> {
    return this.#call("The running sandboxes could not be listed", async () => {
      const sandboxes: ModalSandbox[] = [];
      for await (const sandbox of client.sandboxes.list({ appId: app.appId })) sandboxes.push(sandbox);
      return sandboxes;
    });
  }

  /** Creation failed for us; the sandbox may exist all the same, when only the answer was lost. */
  async #endUnanswered(client: ModalClient, sessionId: string, launchId: string, reason: AppError): Promise<void> {
    if (reason.code === "sandbox_provider_unauthorized") return;
    try {
      const sandbox = await withDeadline(client.sandboxes.fromName(this.#appName, sandboxName(sessionId)), this.#callTimeoutMs);
      const tags = await withDeadline(sandbox.getTags(), this.#callTimeoutMs);
      if (tags[launchTag] === launchId) await this.terminate(sandbox.sandboxId);
    } catch (error) {
      if (modalStatus(error) === "NOT_FOUND") return;
      throw new AppError(
        "sandbox_terminate_failed",
        `${reason.message} Whether it left a sandbox could not be found out (${modalStatus(error)}).`,
        { cause: reason },
      );
    }
  }

  async #endFailed(sandbox: ModalSandbox, reason: AppError): Promise<AppError> {
    try {
      await this.terminate(sandbox.sandboxId);
      return reason;
    } catch (error) {
      return new AppError(
        "sandbox_terminate_failed",
        `${reason.message} Its sandbox ${sandbox.sandboxId} could not be ended (${modalStatus(error)}).`,
        { cause: reason, details: { sandboxId: sandbox.sandboxId } },
      );
    } finally {
      sandbox.detach();
    }
  }

  async #call<T>(failed: string, work: () => Promise<T>): Promise<T> {
    try {
      return await withDeadline(work(), this.#callTimeoutMs);
    } catch (error) {
      throw modalError(error, { failed, otherwise: "sandbox_provider_unavailable" });
    }
  }
}

const cancelled = (sessionId: string): AppError =>
  new AppError("sandbox_launch_cancelled", `The launch of session ${sessionId} was cancelled.`);

/** As `Promise.all` over `work`, at most {@link parallelCalls} at once. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let begin = 0; begin < items.length; begin += parallelCalls) {
    results.push(...(await Promise.all(items.slice(begin, begin + parallelCalls).map(work))));
  }
  return results;
}
