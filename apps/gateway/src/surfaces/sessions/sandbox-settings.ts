import { allowsModel, modelSpellings, providerOfModel, type SessionRow } from "@proliferate/services/sessions";
import { buildSandboxEnv, getOpencodeConfig, OPENCODE_GLOBAL_CONFIG_PATH } from "@proliferate/shared";
import type { CreateSessionResponse } from "@proliferate/shared/contracts";

/** What is put into a session's sandbox: variables, and OpenCode's configuration with the place where it is honoured. */
export function sandboxSettings(options: {
  readonly session: SessionRow;
  readonly apiKey: string;
  /** With `/v1`. */
  readonly baseUrl: string;
  readonly smallModel: string;
  /** What the key may call, as far as that is known. */
  readonly models: readonly string[] | undefined;
  /** Variables of the organization. */
  readonly secrets?: Readonly<Record<string, string>> | undefined;
  /** Of the agent's server. Default: random. */
  readonly password?: string | undefined;
}): Pick<CreateSessionResponse, "environment" | "opencode_config" | "opencode_config_path"> {
  const { session, apiKey, baseUrl } = options;
  const models = options.models ?? session.models;
  const usesSmallModel = providerOfModel(options.smallModel) === providerOfModel(session.model) && allowsModel(models, options.smallModel);
  const config = getOpencodeConfig({
    model: prefixed(session.model),
    smallModel: prefixed(usesSmallModel ? options.smallModel : session.model),
    models: [...new Set(models.map(prefixed))].map((id) => ({ id })),
    baseUrl,
  });
  return {
    environment: buildSandboxEnv({
      sessionId: session.session_id,
      orgId: session.org_id,
      apiKey,
      baseUrl,
      organizationSecrets: options.secrets ?? {},
      ...(options.password !== undefined && { opencodeServerPassword: options.password }),
    }),
    opencode_config: JSON.parse(config) as Record<string, unknown>,
    opencode_config_path: OPENCODE_GLOBAL_CONFIG_PATH,
  };
}

const prefixed = (model: string): string => modelSpellings(model)[1];
