import { randomBytes } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { isAppError } from "@proliferate/shared/errors";
import type { LocalSandboxProvider } from "@proliferate/shared/sandbox";
import { Container } from "./container.ts";
import { RpcFailure } from "./faults.ts";

export interface NewSandbox {
  readonly appId: string;
  readonly name: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly ports: readonly number[];
  readonly imageId: string;
  readonly home: string;
  readonly tags: readonly { readonly tagName: string; readonly tagValue: string }[];
}

export interface SandboxEntry extends NewSandbox {
  readonly id: string;
  readonly taskId: string;
  readonly createdAt: number;
  readonly container: Container;
}

/** The sandboxes and images of the stand-in, running or ended. */
export class SandboxTable {
  readonly #local: LocalSandboxProvider;
  readonly #entries = new Map<string, SandboxEntry>();
  readonly #answered = new Map<string, Promise<SandboxEntry>>();
  readonly #snapshots = new Map<string, string>();
  #created = 0;

  constructor(local: LocalSandboxProvider) {
    this.#local = local;
  }

  /** Once for each idempotency key, as the SDK repeats a call whose answer was lost. A taken name is ALREADY_EXISTS. */
  async create(options: NewSandbox, idempotencyKey: string): Promise<SandboxEntry> {
    const repeated = this.#answered.get(idempotencyKey);
    if (repeated) return repeated;
    const creation = this.#create(options);
    this.#answered.set(idempotencyKey, creation);
    return creation;
  }

  async #create(options: NewSandbox): Promise<SandboxEntry> {
    if (options.name !== "" && (await this.findByName(options.name)))
      throw new RpcFailure(status.ALREADY_EXISTS, `Sandbox with name ${options.name} already exists`);
    // Neither 22 characters nor letters alone: the SDK tells its older backend by that.
    const id = `sb-${randomBytes(13).toString("hex")}`;
    const snapshotId = this.#snapshots.get(options.imageId);
    const { HOME: _home, ...environment } = options.environment;
    const sandbox = await this.#local.create({
      sessionId: id,
      environment,
      timeoutMs: options.timeoutMs,
      ports: options.ports,
      ...(snapshotId !== undefined && { snapshotId }),
    });
    this.#created += 1;
    const entry: SandboxEntry = {
      ...options,
      id,
      taskId: `ta-${id.slice(3)}`,
      createdAt: this.#created,
      container: new Container(sandbox, options.home),
    };
    this.#entries.set(id, entry);
    return entry;
  }

  get(id: string): SandboxEntry {
    const entry = this.#entries.get(id);
    if (!entry) throw new RpcFailure(status.NOT_FOUND, `Sandbox ${id} not found`);
    return entry;
  }

  /** The container of a running task. */
  async container(taskId: unknown): Promise<Container> {
    const entry = [...this.#entries.values()].find((candidate) => candidate.taskId === taskId);
    if (!entry) throw new RpcFailure(status.NOT_FOUND, "task not found");
    if (!(await this.isRunning(entry.id))) throw new RpcFailure(status.FAILED_PRECONDITION, "task has finished");
    return entry.container;
  }

  async findByName(name: string): Promise<SandboxEntry | undefined> {
    const running = new Set(await this.runningIds());
    return [...this.#entries.values()].find((entry) => entry.name === name && running.has(entry.id));
  }

  /** Newest first. */
  async runningEntries(): Promise<readonly SandboxEntry[]> {
    const running = new Set(await this.runningIds());
    return [...this.#entries.values()].filter(({ id }) => running.has(id)).toSorted((a, b) => b.createdAt - a.createdAt);
  }

  async runningIds(): Promise<readonly string[]> {
    return (await this.#local.list()).map(({ name }) => name);
  }

  async isRunning(id: string): Promise<boolean> {
    return (await this.runningIds()).includes(id);
  }

  async terminate(id: string): Promise<void> {
    await this.get(id).container.sandbox.terminate();
  }

  async snapshot(container: Container): Promise<string> {
    const imageId = `im-${randomBytes(11).toString("hex")}`;
    try {
      this.#snapshots.set(imageId, await container.sandbox.snapshot());
    } catch (error) {
      throw isAppError(error) ? new RpcFailure(status.INTERNAL, error.message) : error;
    }
    return imageId;
  }

  hasImage(imageId: string): boolean {
    return this.#snapshots.has(imageId) || imageId === "im-base";
  }

  async deleteImage(imageId: string): Promise<void> {
    const snapshotId = this.#snapshots.get(imageId);
    if (snapshotId === undefined) throw new RpcFailure(status.NOT_FOUND, `Image ${imageId} not found`);
    this.#snapshots.delete(imageId);
    await this.#local.deleteSnapshot(snapshotId);
  }
}
