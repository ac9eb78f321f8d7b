import { AppError } from "../errors/index.ts";
import { type DecimalText, normalizeDecimal } from "../money.ts";

/**
 * Where the config must be written, relative to the home directory of the sandbox. `opencode serve` honours `server` only in
 * this global file: from a project file, OPENCODE_CONFIG or OPENCODE_CONFIG_CONTENT it listens on 127.0.0.1:4096 whatever
 * the file says. Where XDG_CONFIG_HOME is set, `opencode/opencode.json` inside that.
 */
export const OPENCODE_GLOBAL_CONFIG_PATH = ".config/opencode/opencode.json";

/** The provider in OpenCode that GPT models go through. Its built-in `openai` speaks the Responses API, which LLM proxies need not have. */
const OPENCODE_OPENAI_PROVIDER = "openai-proxy";

const defaultServer = { port: 4096, hostname: "0.0.0.0" } as const;

/** Where the agent's server listens in its sandbox. */
interface OpencodeServer {
  /** Default 4096. */
  readonly port?: number;
  /** Default 0.0.0.0, so set OPENCODE_SERVER_PASSWORD ({@link buildSandboxEnv} does). */
  readonly hostname?: string;
}

/** A model that the agent may use. OpenCode refuses, without a request, one that it knows neither itself nor from here. */
export interface OpencodeModel {
  /** `anthropic/…` or `openai/…`: what stands behind the slash goes over the wire. */
  readonly id: string;
  /** Shown to people. Default: the id. */
  readonly name?: string;
  /** Tokens. */
  readonly limit?: { readonly context: number; readonly output: number };
  /** USD per million tokens, for the agent's own display; nothing is billed by it. */
  readonly cost?: {
    readonly input: DecimalText;
    readonly output: DecimalText;
    readonly cacheRead?: DecimalText;
    readonly cacheWrite?: DecimalText;
  };
}

/** What {@link getOpencodeConfig} makes the agent's configuration from. */
export interface OpencodeConfigOptions {
  /** `anthropic/…` or `openai/…`. */
  readonly model: string;
  /** For titles and summaries. Default: `model`, since OpenCode's own choice may not be served by the proxy. */
  readonly smallModel?: string;
  /** Base URL of the proxy with `/v1`. Without it the agent takes ANTHROPIC_BASE_URL and OPENAI_BASE_URL or the providers' own. */
  readonly baseUrl?: string;
  /** The catalogue. `model` and `smallModel` are added when they are missing. */
  readonly models?: readonly OpencodeModel[];
  /** `opencode serve`; honoured only in {@link OPENCODE_GLOBAL_CONFIG_PATH}. Default 0.0.0.0:4096. `false` leaves it out. */
  readonly server?: OpencodeServer | false;
  /** Written into the file. Default: the key stays in the environment (ANTHROPIC_API_KEY, OPENAI_API_KEY), where it belongs. */
  readonly apiKey?: string;
  /** Further top-level keys (`permission`, `mcp`, `plugin`); a key that is set here by the other options wins over them. */
  readonly additional?: Readonly<Record<string, unknown>>;
}

/**
 * OpenCode's configuration as JSON text. Pure; any text as model, URL or key gives valid JSON that reads back as given.
 *
 * With positions it gives exactly the two forms of the guide: proxy (a base URL) and direct (none). With options it gives
 * what a real OpenCode needs against a proxy: the catalogue, the small model, no updates, no sharing, no other provider.
 * Options throw `invalid_request` for a model that is neither `anthropic/…` nor `openai/…`.
 *
 * @example
 * ```ts
 * import { getOpencodeConfig } from "@proliferate/shared";
 *
 * const guideForm = JSON.parse(getOpencodeConfig("anthropic/claude-sonnet-4-5", "https://llm.example.com/v1"));
 * console.log(guideForm.provider.anthropic.options.baseURL); // https://llm.example.com/v1
 *
 * const fullForm = JSON.parse(getOpencodeConfig({
 *   model: "anthropic/claude-sonnet-4-5",
 *   smallModel: "anthropic/claude-haiku-4-5",
 *   baseUrl: "https://llm.example.com/v1",
 * }));
 * console.log(fullForm.small_model, fullForm.server.port); // anthropic/claude-haiku-4-5 4096
 * ```
 */
export function getOpencodeConfig(opencodeModelId: string, anthropicBaseUrl?: string, anthropicApiKey?: string): string;
export function getOpencodeConfig(options: OpencodeConfigOptions): string;
export function getOpencodeConfig(
  modelOrOptions: string | OpencodeConfigOptions,
  anthropicBaseUrl?: string,
  anthropicApiKey?: string,
): string {
  const config =
    typeof modelOrOptions === "string" ? guideConfig(modelOrOptions, anthropicBaseUrl, anthropicApiKey) : fullConfig(modelOrOptions);
  return JSON.stringify(config, undefined, 2);
}

/**
 * Arguments that make `opencode` serve on this address wherever its config lies, for launchers that cannot write the global
 * file. Set OPENCODE_SERVER_PASSWORD too, or whoever reaches the port runs commands in the sandbox.
 */
export function opencodeServeArguments(server: OpencodeServer = {}): string[] {
  const { port, hostname } = { ...defaultServer, ...server };
  return ["serve", "--port", String(port), "--hostname", hostname];
}

const schema = "https://opencode.ai/config.json";

function guideConfig(model: string, baseURL: string | undefined, apiKey: string | undefined): object {
  const options = { ...(baseURL && { baseURL }), ...(apiKey && { apiKey }) };
  const anthropic = baseURL || apiKey ? { options } : {};
  return { $schema: schema, model, provider: { anthropic }, ...(baseURL && { server: defaultServer }) };
}

function fullConfig(options: OpencodeConfigOptions): object {
  const { model, smallModel = model, models = [], server = {} } = options;
  const catalogue = new Map<string, OpencodeModel>([model, smallModel].map((id) => [id, { id }]));
  for (const entry of models) catalogue.set(entry.id, entry);
  const entries = [...catalogue.values()];
  const anthropic = entries.filter(({ id }) => providerOf(id) === "anthropic");
  const openai = entries.filter(({ id }) => providerOf(id) === "openai");
  const provider = {
    ...(anthropic.length > 0 && { anthropic: { ...providerOptions(options), models: modelEntries(anthropic) } }),
    ...(openai.length > 0 && {
      [OPENCODE_OPENAI_PROVIDER]: {
        npm: "@ai-sdk/openai-compatible",
        name: "OpenAI",
        env: ["OPENAI_API_KEY"],
        ...providerOptions(options, "{env:OPENAI_API_KEY}", "{env:OPENAI_BASE_URL}"),
        models: modelEntries(openai),
      },
    }),
  };
  return {
    ...options.additional,
    $schema: schema,
    model: opencodeModelId(model),
    small_model: opencodeModelId(smallModel),
    enabled_providers: Object.keys(provider),
    provider,
    autoupdate: false,
    share: "disabled",
    ...(server !== false && { server: { ...defaultServer, ...server } }),
  };
}

function providerOf(modelId: string): "anthropic" | "openai" {
  const provider = /^(anthropic|openai)\/./s.exec(modelId)?.[1];
  if (provider === "anthropic" || provider === "openai") return provider;
  throw new AppError("invalid_request", `Model ${JSON.stringify(modelId)} must be named anthropic/… or openai/….`, { param: "model" });
}

const wireModel = (modelId: string): string => modelId.slice(modelId.indexOf("/") + 1);

const opencodeModelId = (modelId: string): string =>
  providerOf(modelId) === "openai" ? `${OPENCODE_OPENAI_PROVIDER}/${wireModel(modelId)}` : modelId;

function providerOptions({ apiKey, baseUrl }: OpencodeConfigOptions, apiKeyByDefault?: string, baseUrlByDefault?: string): object {
  const [key, url] = [apiKey ?? apiKeyByDefault, baseUrl ?? baseUrlByDefault];
  return { options: { ...(url !== undefined && { baseURL: url }), ...(key !== undefined && { apiKey: key }) } };
}

function modelEntries(models: readonly OpencodeModel[]): object {
  return Object.fromEntries(
    models.map(({ id, name, limit, cost }) => [
      wireModel(id),
      { name: name ?? id, ...(limit && { limit }), ...(cost && { cost: displayedCost(cost) }) },
    ]),
  );
}

/** OpenCode reads JSON numbers; here they are for display only. */
const displayedPrice = (price: DecimalText): number => Number(normalizeDecimal(price));

function displayedCost({ input, output, cacheRead, cacheWrite }: NonNullable<OpencodeModel["cost"]>): object {
  return {
    input: displayedPrice(input),
    output: displayedPrice(output),
    ...(cacheRead !== undefined && { cache_read: displayedPrice(cacheRead) }),
    ...(cacheWrite !== undefined && { cache_write: displayedPrice(cacheWrite) }),
  };
}
