import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { createLocalSandboxProvider, type LocalSandboxProvider } from "@proliferate/shared/sandbox";
import { controlHandlers } from "./control.ts";
import { type Fault, Faults, RpcFailure } from "./faults.ts";
import { collectStdin, readOutput, routerHandlers } from "./router.ts";
import { SandboxTable } from "./sandbox-table.ts";
import { controlService, routerService, type WireMessage } from "./wire.ts";

interface ModalStandInOptions {
  /** The one token that is taken. */
  readonly tokenId?: string;
  readonly tokenSecret?: string;
  /** PATH in every sandbox. */
  readonly path?: string;
}

export interface ModalStandIn {
  /** For MODAL_SERVER_URL. */
  readonly url: string;
  readonly tokenId: string;
  readonly tokenSecret: string;
  /** Names of the RPCs that came in, in order. */
  readonly calls: readonly string[];
  /** Lets the next calls of an RPC fail. */
  fail(rpc: string, fault: Fault): void;
  /** Forgets faults and calls. */
  clear(): void;
  /** Ids of the sandboxes that run. */
  running(): Promise<readonly string[]>;
  /** The variables a sandbox was created with, and how long it may live. */
  created(id: string): { readonly environment: Readonly<Record<string, string>>; readonly timeoutMs: number; readonly imageId: string };
  /** Ends every sandbox and the server. */
  stop(): Promise<void>;
}

type Unary = (request: WireMessage, metadata: Metadata) => Promise<WireMessage>;

/**
 * Modal on loopback, as far as the launcher of `@proliferate/shared/modal` uses it: the real SDK talks gRPC to it, and its
 * sandboxes really run their commands. It says what it is told; prices, images and isolation it has none of.
 */
export async function startModalStandIn(options: ModalStandInOptions = {}): Promise<ModalStandIn> {
  const { tokenId = "ak-stand-in", tokenSecret = "as-stand-in", path } = options;
  const folder = await mkdtemp(join(tmpdir(), "modal-stand-in-"));
  const local: LocalSandboxProvider = createLocalSandboxProvider({ rootFolder: folder, ...(path !== undefined && { path }) });
  const table = new SandboxTable(local);
  const faults = new Faults();
  const server = new Server();
  let url = "";
  const authenticate = (metadata: Metadata): void => {
    if (metadata.get("x-modal-token-id")[0] !== tokenId || metadata.get("x-modal-token-secret")[0] !== tokenSecret)
      throw new RpcFailure(status.UNAUTHENTICATED, "Token ID not found");
  };
  const control = controlHandlers(table, () => url);
  for (const [name, handle] of Object.entries(control)) {
    control[name] = (request, metadata) => {
      authenticate(metadata);
      return handle(request, metadata);
    };
  }
  addUnary(server, controlService, control, faults);
  const router = routerHandlers(table);
  addRouter(server, router, table, faults);
  const port = await listen(server);
  url = `http://127.0.0.1:${port}`;
  return {
    url,
    tokenId,
    tokenSecret,
    calls: faults.calls,
    fail: (rpc, fault) => faults.set(rpc, fault),
    clear: () => faults.clear(),
    running: () => table.runningIds(),
    created: (id) => table.get(id),
    async stop() {
      server.forceShutdown();
      await local.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function addUnary(server: Server, service: ServiceDefinition, handlers: Readonly<Record<string, Unary>>, faults: Faults): void {
  server.addService(service, Object.fromEntries(Object.entries(handlers).map(([name, handle]) => [name, unary(name, handle, faults)])));
}

const unary =
  (name: string, handle: Unary, faults: Faults) =>
  (call: ServerUnaryCall<WireMessage, WireMessage>, answer: sendUnaryData<WireMessage>) => {
    faults
      .run(name, async () => handle(call.request, call.metadata))
      .then(
        (response) => answer(null, response),
        (error: unknown) => answer(failureOf(error)),
      );
  };

function addRouter(server: Server, handlers: Readonly<Record<string, Unary>>, table: SandboxTable, faults: Faults): void {
  const unaries = Object.entries(handlers).map(([name, handle]) => [name, unary(name, handle, faults)] as const);
  server.addService(routerService, {
    ...Object.fromEntries(unaries),
    TaskExecStdioRead: (call: ServerWritableStream<WireMessage, WireMessage>) => {
      faults
        .run("TaskExecStdioRead", () => readOutput(table, call))
        .then(
          () => call.end(),
          (error: unknown) => call.emit("error", failureOf(error)),
        );
    },
    TaskExecStdinWriteStream: (call: ServerReadableStream<WireMessage, WireMessage>, answer: sendUnaryData<WireMessage>) => {
      faults
        .run("TaskExecStdinWriteStream", () => collectStdin(table, call))
        .then(
          () => answer(null, {}),
          (error: unknown) => answer(failureOf(error)),
        );
    },
  });
}

const failureOf = (error: unknown): RpcFailure =>
  error instanceof RpcFailure
    ? error
    : new RpcFailure(status.UNKNOWN, `the stand-in failed (${randomUUID()}): ${error instanceof Error ? error.message : "unknown"}`);

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
  });
}
