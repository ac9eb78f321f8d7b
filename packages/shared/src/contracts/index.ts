export * from "./billing.ts";
export * from "./key-management.ts";
export * from "./operator.ts";
export * from "./session.ts";
export * from "./sandbox.ts";
export * from "./service-token.ts";
export * from "./storable.ts";
export * from "./limits.ts";
