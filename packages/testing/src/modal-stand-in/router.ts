import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerReadableStream, ServerWritableStream } from "@grpc/grpc-js";
import type { SandboxTable } from "./sandbox-table.ts";
import type { WireMessage } from "./wire.ts";

const chunkBytes = 64 * 1024;

/** `TaskCommandRouter`: commands in a sandbox, but for the two streams below. */
export function routerHandlers(table: SandboxTable): Record<string, (request: WireMessage) => Promise<WireMessage>> {
  return {
    TaskExecStart: async (request) => {
      const { taskId, execId, commandArgs, stdoutConfig, stderrConfig, timeoutSecs, workdir, secretSources } = request;
      const sources = secretSources as readonly { readonly env: { readonly contents: Record<string, string> } | null }[];
      (await table.container(taskId)).start({
        execId: String(execId),
        command: commandArgs as readonly string[],
        environment: Object.assign({}, ...sources.map(({ env }) => env?.contents)),
        workdir: String(workdir),
        timeoutMs: Number(timeoutSecs) === 0 ? undefined : Number(timeoutSecs) * 1000,
        isSilent: stdoutConfig === 0 && stderrConfig === 0,
      });
      return {};
    },
    TaskExecWait: async ({ taskId, execId }) => ({ code: (await (await table.container(taskId)).exec(String(execId)).ended).status }),
    TaskExecPoll: async ({ taskId, execId }) => {
      const { ended } = (await table.container(taskId)).exec(String(execId));
      const result = await Promise.race([ended, sleep(0, undefined)]);
      return result === undefined ? {} : { code: result.status };
    },
    TaskExecStdinStatus: async ({ taskId, execId }) => {
      const { stdin, isStdinClosed } = (await table.container(taskId)).exec(String(execId));
      return { numBytesWritten: Buffer.concat(stdin).length, closed: isStdinClosed() };
    },
    TaskSnapshotFilesystem: async ({ taskId }) => ({ imageId: await table.snapshot(await table.container(taskId)) }),
  };
}

/** Sends a command's output from the offset on, when it has ended. */
export async function readOutput(table: SandboxTable, call: ServerWritableStream<WireMessage, WireMessage>): Promise<void> {
  const { taskId, execId, offset, fileDescriptor } = call.request;
  const { stdout, stderr } = await (await table.container(taskId)).exec(String(execId)).ended;
  const bytes = fileDescriptor === 1 ? stderr : stdout;
  for (let begin = Number(offset); begin < bytes.length; begin += chunkBytes) {
    if (!call.write({ data: bytes.subarray(begin, begin + chunkBytes) })) await once(call, "drain");
  }
}

/** Takes the bytes of a command's stdin; what is sent again after a broken stream is not taken twice. */
export async function collectStdin(table: SandboxTable, call: ServerReadableStream<WireMessage, WireMessage>): Promise<void> {
  let exec: ReturnType<Awaited<ReturnType<SandboxTable["container"]>>["exec"]> | undefined;
  for await (const message of call as AsyncIterable<WireMessage>) {
    const { start, data, end } = message as { start: WireMessage | null; data: Uint8Array; end: WireMessage | null };
    if (start) exec = (await table.container(start["taskId"])).exec(String(start["execId"]));
    if (data.length > 0) exec?.stdin.push(data);
    if (end) exec?.closeStdin();
  }
}
