import { setTimeout as sleep } from "node:timers/promises";
import { type Metadata, status } from "@grpc/grpc-js";
import { RpcFailure } from "./faults.ts";
import type { NewSandbox, SandboxEntry, SandboxTable } from "./sandbox-table.ts";
import type { WireMessage } from "./wire.ts";

const success = 1;
const terminated = 3;
/** Small, so that a listing takes more than one page. */
const pageSize = 2;

/** `ModalClient`: apps, images, sandboxes. `url` is asked for when it is needed, as it is known only after listening. */
export function controlHandlers(
  table: SandboxTable,
  url: () => string,
): Record<string, (request: WireMessage, metadata: Metadata) => Promise<WireMessage>> {
  const routerAccess = (): WireMessage => ({ jwt: token(), url: url().replace("http:", "https:") });
  const byName = async ({ sandboxName }: WireMessage): Promise<WireMessage> => {
    const entry = await table.findByName(String(sandboxName));
    if (!entry) throw new RpcFailure(status.NOT_FOUND, "Sandbox not found");
    return { sandboxId: entry.id };
  };
  return {
    AuthTokenGet: async () => ({ token: token() }),
    AppGetOrCreate: async ({ appName }) => ({ appId: `ap-${String(appName)}` }),
    EnvironmentGetOrCreate: async () => ({
      environmentId: "en-main",
      metadata: { name: "main", settings: { imageBuilderVersion: "2025.06" } },
    }),
    ImageGetOrCreate: async () => ({ imageId: "im-base", result: { status: success } }),
    ImageFromId: async ({ imageId }) => {
      if (!table.hasImage(String(imageId))) throw new RpcFailure(status.NOT_FOUND, `Image ${String(imageId)} not found`);
      return { imageId };
    },
    ImageDelete: async ({ imageId }) => {
      await table.deleteImage(String(imageId));
      return {};
    },
    SandboxCreateV2: async (request, metadata) => {
      const entry = await table.create(newSandbox(request), String(metadata.get("x-idempotency-key")[0]));
      return { sandboxId: entry.id, taskId: entry.taskId, tunnels: tunnelsOf(entry), commandRouterAccess: routerAccess() };
    },
    SandboxGetFromNameV2: byName,
    SandboxGetFromName: byName,
    SandboxGetTaskIdV2: async ({ sandboxId }) => {
      const entry = table.get(String(sandboxId));
      return (await table.isRunning(entry.id))
        ? { taskId: entry.taskId }
        : { taskResult: { status: terminated, exception: "sandbox has finished" } };
    },
    SandboxGetTunnelsV2: async ({ sandboxId }) => ({ result: { status: success }, tunnels: tunnelsOf(table.get(String(sandboxId))) }),
    SandboxGetCommandRouterAccess: async () => routerAccess(),
    SandboxTagsGetV2: async ({ sandboxId }) => ({ tags: table.get(String(sandboxId)).tags }),
    SandboxListV2: async ({ appId, beforeTimestamp }) => {
      const before = Number(beforeTimestamp) || Infinity;
      const entries = (await table.runningEntries()).filter((entry) => entry.appId === appId && entry.createdAt < before);
      return { sandboxes: entries.slice(0, pageSize).map(({ id, createdAt, name }) => ({ id, createdAt, appId, name })) };
    },
    SandboxTerminateV2: async ({ sandboxId }) => {
      await table.terminate(String(sandboxId));
      return {};
    },
    SandboxWaitV2: async ({ sandboxId, timeout }) => {
      const { id } = table.get(String(sandboxId));
      const deadline = Date.now() + Number(timeout) * 1000;
      for (;;) {
        if (!(await table.isRunning(id))) return { result: { status: terminated } };
        if (Date.now() >= deadline) return {};
        await sleep(20);
      }
    },
  };
}

function newSandbox({ appId, definition, secretSources, tags }: WireMessage): NewSandbox {
  const { name, timeoutSecs, openPorts, imageId } = definition as {
    name: string;
    timeoutSecs: number;
    openPorts: { ports: { port: number }[] } | null;
    imageId: string;
  };
  const sources = secretSources as readonly { readonly env: { readonly contents: Record<string, string> } | null }[];
  const environment: Record<string, string> = Object.assign({}, ...sources.map(({ env }) => env?.contents));
  return {
    appId: String(appId),
    name,
    environment,
    timeoutMs: timeoutSecs * 1000,
    ports: openPorts?.ports.map(({ port }) => port) ?? [],
    imageId,
    home: environment["HOME"] ?? "/root",
    tags: tags as NewSandbox["tags"],
  };
}

const tunnelsOf = ({ container }: SandboxEntry): WireMessage[] =>
  [...container.sandbox.ports].map(([containerPort, { listenPort }]) => ({ containerPort, host: "127.0.0.1", port: listenPort }));

const jsonPart = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** An unsigned JWT that is good for an hour: the SDK reads when it expires. */
const token = (): string => `${jsonPart({ alg: "none" })}.${jsonPart({ exp: Math.floor(Date.now() / 1000) + 3600 })}.none`;
