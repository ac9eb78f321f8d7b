import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import protobuf, { type Root, type Type } from "protobufjs";

/**
 * The part of Modal's wire that one sandbox needs, written down from what `modal` 0.11.1 sends and reads: names and numbers
 * of the fields are facts of the wire, fields that nobody here looks at are left out, as protobuf allows.
 */
const controlProto = `
syntax = "proto3";
package modal.client;
message Empty {}
message GenericResult { int32 status = 1; string exception = 2; int32 exitcode = 3; }
message AuthTokenGetResponse { string token = 1; }
message AppGetOrCreateRequest { string appName = 1; string environmentName = 2; int32 objectCreationType = 3; }
message AppGetOrCreateResponse { string appId = 1; }
message EnvironmentSettings { string imageBuilderVersion = 1; }
message EnvironmentMetadata { string name = 1; EnvironmentSettings settings = 2; }
message EnvironmentGetOrCreateResponse { string environmentId = 1; EnvironmentMetadata metadata = 2; }
message Image { repeated string dockerfileCommands = 6; }
message ImageGetOrCreateRequest { Image image = 2; string appId = 4; }
message ImageGetOrCreateResponse { string imageId = 1; GenericResult result = 2; }
message ImageId { string imageId = 1; }
message PortSpec { uint32 port = 1; bool unencrypted = 2; }
message PortSpecs { repeated PortSpec ports = 1; }
message SandboxDefinition { repeated string entrypointArgs = 1; string imageId = 3; uint32 timeoutSecs = 7; string workdir = 8; PortSpecs openPorts = 20; string name = 30; }
message StringMap { map<string, string> contents = 1; }
message SecretSource { string secretId = 1; StringMap env = 2; }
message SandboxTag { string tagName = 1; string tagValue = 2; }
message SandboxCreateV2Request { string appId = 1; SandboxDefinition definition = 2; repeated SandboxTag tags = 4; repeated SecretSource secretSources = 6; }
message TunnelData { string host = 1; uint32 port = 2; string unencryptedHost = 3; uint32 unencryptedPort = 4; uint32 containerPort = 5; }
message RouterAccess { string jwt = 1; string url = 2; }
message SandboxCreateV2Response { string sandboxId = 1; repeated TunnelData tunnels = 2; string taskId = 3; RouterAccess commandRouterAccess = 5; }
message SandboxRequest { string sandboxId = 1; float timeout = 2; }
message SandboxWaitResponse { GenericResult result = 1; }
message SandboxGetTaskIdResponse { string taskId = 1; GenericResult taskResult = 2; }
message SandboxGetTunnelsResponse { GenericResult result = 1; repeated TunnelData tunnels = 2; }
message SandboxGetFromNameRequest { string sandboxName = 1; string environmentName = 2; string appName = 3; bool includeTerminated = 4; }
message SandboxId { string sandboxId = 1; }
message SandboxTags { repeated SandboxTag tags = 1; }
message SandboxListRequest { string appId = 1; double beforeTimestamp = 2; }
message SandboxInfo { string id = 1; double createdAt = 3; string appId = 5; string name = 7; }
message SandboxListResponse { repeated SandboxInfo sandboxes = 1; }
service ModalClient {
  rpc AuthTokenGet (Empty) returns (AuthTokenGetResponse);
  rpc AppGetOrCreate (AppGetOrCreateRequest) returns (AppGetOrCreateResponse);
  rpc EnvironmentGetOrCreate (Empty) returns (EnvironmentGetOrCreateResponse);
  rpc ImageGetOrCreate (ImageGetOrCreateRequest) returns (ImageGetOrCreateResponse);
  rpc ImageFromId (ImageId) returns (ImageId);
  rpc ImageDelete (ImageId) returns (Empty);
  rpc SandboxCreateV2 (SandboxCreateV2Request) returns (SandboxCreateV2Response);
  rpc SandboxGetFromNameV2 (SandboxGetFromNameRequest) returns (SandboxId);
  rpc SandboxGetFromName (SandboxGetFromNameRequest) returns (SandboxId);
  rpc SandboxGetTaskIdV2 (SandboxRequest) returns (SandboxGetTaskIdResponse);
  rpc SandboxGetTunnelsV2 (SandboxRequest) returns (SandboxGetTunnelsResponse);
  rpc SandboxGetCommandRouterAccess (SandboxId) returns (RouterAccess);
  rpc SandboxTagsGetV2 (SandboxId) returns (SandboxTags);
  rpc SandboxListV2 (SandboxListRequest) returns (SandboxListResponse);
  rpc SandboxTerminateV2 (SandboxRequest) returns (Empty);
  rpc SandboxWaitV2 (SandboxRequest) returns (SandboxWaitResponse);
}`;

const routerProto = `
syntax = "proto3";
package modal.task_command_router;
message Empty {}
message StringMap { map<string, string> contents = 1; }
message SecretSource { string secretId = 1; StringMap env = 2; }
message TaskExecStartRequest { string taskId = 1; string execId = 2; repeated string commandArgs = 3; int32 stdoutConfig = 4; int32 stderrConfig = 5; uint32 timeoutSecs = 6; string workdir = 7; repeated SecretSource secretSources = 13; }
message ExecRequest { string taskId = 1; string execId = 2; }
message TaskExecStdioReadRequest { string taskId = 1; string execId = 2; uint64 offset = 3; int32 fileDescriptor = 4; }
message Chunk { bytes data = 1; }
message ExitStatus { oneof exitStatus { int32 code = 1; int32 signal = 2; } }
message StdinStart { string taskId = 1; string execId = 2; uint64 offset = 3; }
message TaskExecStdinWriteStreamRequest { StdinStart start = 1; bytes data = 2; Empty end = 3; }
message TaskExecStdinStatusResponse { uint64 numBytesWritten = 1; bool closed = 2; }
message TaskSnapshotFilesystemRequest { string taskId = 1; string snapshotId = 2; int64 ttlSeconds = 3; }
message ImageId { string imageId = 1; }
service TaskCommandRouter {
  rpc TaskExecStart (TaskExecStartRequest) returns (Empty);
  rpc TaskExecStdioRead (TaskExecStdioReadRequest) returns (stream Chunk);
  rpc TaskExecWait (ExecRequest) returns (ExitStatus);
  rpc TaskExecPoll (ExecRequest) returns (ExitStatus);
  rpc TaskExecStdinWriteStream (stream TaskExecStdinWriteStreamRequest) returns (Empty);
  rpc TaskExecStdinStatus (ExecRequest) returns (TaskExecStdinStatusResponse);
  rpc TaskSnapshotFilesystem (TaskSnapshotFilesystemRequest) returns (ImageId);
}`;

export const controlService = serviceOf(controlProto, "modal.client.ModalClient");
export const routerService = serviceOf(routerProto, "modal.task_command_router.TaskCommandRouter");

/** A message as a plain object: defaults filled in, 64-bit numbers as numbers, absent messages as null. */
export type WireMessage = Readonly<Record<string, unknown>>;

function serviceOf(proto: string, name: string): ServiceDefinition {
  const { root } = protobuf.parse(proto, { keepCase: true });
  root.resolveAll();
  const methods = Object.values(root.lookupService(name).methods).map((method): [string, MethodDefinition<WireMessage, WireMessage>] => {
    const request = codecOf(root, method.resolvedRequestType);
    const response = codecOf(root, method.resolvedResponseType);
    return [
      method.name,
      {
        path: `/${name}/${method.name}`,
        requestStream: method.requestStream === true,
        responseStream: method.responseStream === true,
        requestSerialize: request.encode,
        requestDeserialize: request.decode,
        responseSerialize: response.encode,
        responseDeserialize: response.decode,
      },
    ];
  });
  return Object.fromEntries(methods);
}

function codecOf(root: Root, type: Type | null): { encode: (message: WireMessage) => Buffer; decode: (bytes: Buffer) => WireMessage } {
  const known = type ?? root.lookupType("Empty");
  return {
    encode: (message) => Buffer.from(known.encode(known.fromObject(message)).finish()),
    decode: (bytes) => known.toObject(known.decode(bytes), { defaults: true, arrays: true, objects: true, longs: Number }),
  };
}
