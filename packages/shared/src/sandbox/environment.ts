import { randomBytes } from "node:crypto";
import { AppError } from "../errors/index.ts";

/** The variable with which OpenCode's server is protected (HTTP basic authentication, user `opencode`). */
export const OPENCODE_SERVER_PASSWORD_VARIABLE = "OPENCODE_SERVER_PASSWORD";

/** Keys of the providers themselves, by variable. */
interface ProviderKeys {
  readonly ANTHROPIC_API_KEY?: string;
  readonly OPENAI_API_KEY?: string;
}

/** What {@link buildSandboxEnv} makes the variables of a sandbox from. */
export interface SandboxEnvironmentOptions {
  readonly sessionId: string;
  readonly orgId: string;
  /** The session's virtual key. Goes with `baseUrl`; leave both out only with `unsafeAllowProviderKeys`. */
  readonly apiKey?: string;
  /** Base URL of the proxy, with `/v1`. */
  readonly baseUrl?: string;
  /** Variables of the organization. They cannot take a name that is set or read by the parts of this product. */
  readonly organizationSecrets?: Readonly<Record<string, string>>;
  /** Default: 256 random bits, found in the result. */
  readonly opencodeServerPassword?: string;
  /** Puts provider keys into the sandbox, where the agent and everything that it runs can read them. Default false. */
  readonly unsafeAllowProviderKeys?: boolean;
  /** What is put there, for work without a proxy. Refused unless `unsafeAllowProviderKeys` is true. */
  readonly unsafeDirectProviderKeys?: ProviderKeys;
}

/** Names that an organization cannot set: what this function sets, and what would lead the agent past the proxy. */
const reservedNames = new Set([
  "SESSION_ID",
  "ORG_ID",
  "ANTHROPIC_API_KEY",
  "ANTHROPIC_AUTH_TOKEN",
  "ANTHROPIC_BASE_URL",
  "ANTHROPIC_CUSTOM_HEADERS",
  "OPENAI_API_KEY",
  "OPENAI_API_BASE",
  "OPENAI_BASE_URL",
]);
const reservedPrefixes = ["LLM_PROXY_", "LITELLM_", "OPENCODE_"];

const isReserved = (name: string): boolean => reservedNames.has(name) || reservedPrefixes.some((prefix) => name.startsWith(prefix));

/** Anthropic's and OpenAI's own keys, by their published prefixes. A virtual key is `sk-` and base64url, and may not begin so. */
const providerKeyPattern = /^sk-(?:ant|proj|svcacct|admin|or)-/;

/**
 * The variables of a session's sandbox. A provider key never gets there unless `unsafeAllowProviderKeys` is true.
 * Pure but for the password. Throws `provider_key_exposure` for a provider key in any place that this function sets,
 * `reserved_variable` naming the secret that has a reserved name, and `invalid_request` for a name or value that cannot be a
 * variable, or for a key without base URL.
 *
 * @example
 * ```ts
 * import { buildSandboxEnv } from "@proliferate/shared";
 *
 * const environment = buildSandboxEnv({
 *   sessionId: "session-1",
 *   orgId: "org-1",
 *   apiKey: "sk-virtual-key",
 *   baseUrl: "https://llm.example.com/v1",
 *   organizationSecrets: { DATABASE_PASSWORD: "…" },
 * });
 * console.log(environment.ANTHROPIC_BASE_URL); // https://llm.example.com/v1
 * console.log(environment.OPENCODE_SERVER_PASSWORD.length > 40); // true
 * ```
 */
export function buildSandboxEnv(options: SandboxEnvironmentOptions): Record<string, string> {
  const environment: Record<string, string> = {
    ...checkedSecrets(options.organizationSecrets ?? {}),
    SESSION_ID: options.sessionId,
    ORG_ID: options.orgId,
    ...modelAccess(options),
    [OPENCODE_SERVER_PASSWORD_VARIABLE]: options.opencodeServerPassword ?? randomBytes(32).toString("base64url"),
    OPENCODE_DISABLE_AUTOUPDATE: "true",
    OPENCODE_DISABLE_DEFAULT_PLUGINS: "true",
  };
  for (const [name, value] of Object.entries(environment)) {
    if (value.includes("\0")) throw new AppError("invalid_request", `The value of ${name} contains a NUL byte.`, { param: name });
  }
  return environment;
}

function modelAccess(options: SandboxEnvironmentOptions): Record<string, string> {
  const { apiKey, baseUrl, unsafeAllowProviderKeys = false, unsafeDirectProviderKeys } = options;
  if (!unsafeAllowProviderKeys && (unsafeDirectProviderKeys || apiKey === undefined)) {
    throw new AppError("provider_key_exposure", "A sandbox without a virtual key would need the provider's own key.");
  }
  if (apiKey === undefined) return definedKeys(unsafeDirectProviderKeys ?? {});
  if (baseUrl === undefined || baseUrl === "") {
    throw new AppError("invalid_request", "A virtual key needs baseUrl, or the agent would send it to the provider.", { param: "baseUrl" });
  }
  if (!unsafeAllowProviderKeys && providerKeyPattern.test(apiKey)) {
    throw new AppError("provider_key_exposure", "apiKey is the key of a provider, not a virtual key.", { param: "apiKey" });
  }
  return {
    LLM_PROXY_API_KEY: apiKey,
    ANTHROPIC_API_KEY: apiKey,
    ANTHROPIC_BASE_URL: baseUrl,
    OPENAI_API_KEY: apiKey,
    OPENAI_BASE_URL: baseUrl,
    ...definedKeys(unsafeDirectProviderKeys ?? {}),
  };
}

const definedKeys = ({ ANTHROPIC_API_KEY, OPENAI_API_KEY }: ProviderKeys): Record<string, string> => ({
  ...(ANTHROPIC_API_KEY !== undefined && { ANTHROPIC_API_KEY }),
  ...(OPENAI_API_KEY !== undefined && { OPENAI_API_KEY }),
});

function checkedSecrets(secrets: Readonly<Record<string, string>>): Record<string, string> {
  for (const [name, value] of Object.entries(secrets)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      throw new AppError("invalid_request", `${JSON.stringify(name)} is not the name of a variable.`, { param: "organizationSecrets" });
    }
    if (!isReserved(name)) continue;
    if (providerKeyPattern.test(value)) {
      throw new AppError(
        "provider_key_exposure",
        `The organization secret ${name} is the key of a provider; the sandbox is given a virtual key instead.`,
        { param: name },
      );
    }
    throw new AppError("reserved_variable", `The organization secret ${name} has a reserved name.`, { param: name });
  }
  return { ...secrets };
}
