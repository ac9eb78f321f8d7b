import type { EnvironmentSource } from "@proliferate/shared/env";
import type { ExitStatus } from "./exit-status.ts";
import type { GatewayConnection } from "./gateway-connection.ts";

/** What a session command works with. */
export interface SessionContext {
  readonly gateway: GatewayConnection;
  readonly json: boolean;
  /** Whose sessions are meant where `--org` does not say. */
  readonly orgId: string | undefined;
  /** Token for a private repository. */
  readonly repoToken: string | undefined;
  /** Program that `--attach` starts, with its first arguments. */
  readonly opencode: readonly string[];
  /** Of this process; a terminal program needs the whole of it. */
  readonly environment: EnvironmentSource;
  write(text: string): Promise<void>;
}

export type SessionAction = (context: SessionContext) => Promise<ExitStatus>;
