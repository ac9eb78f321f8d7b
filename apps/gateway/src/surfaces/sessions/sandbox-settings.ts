import { allowsModel, modelNames, prefixedName, providerOfModel, type SessionRow } from "@proliferate/services/sessions";
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
    model: opencodeModel(session.model),
    smallModel: opencodeModel(usesSmallModel ? options.smallModel : session.model),
    models: [...new Set(modelNames(models).map(prefixedName))].map((name) => ({ id: opencodeModel(name), name })),
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

/**
 * A model as OpenCode's configuration has it: what stands before the first slash says in which dialect it is asked for, and is not sent.
 * Another provider's model is asked for in OpenAI's, by its whole name: `openai/mistral/codestral` sends `mistral/codestral`.
 */
function opencodeModel(model: string): string {
  const name = prefixedName(model);
  return ["anthropic", "openai"].includes(providerOfModel(name)) ? name : `openai/${name}`;
}
