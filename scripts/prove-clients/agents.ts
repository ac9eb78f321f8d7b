import type { Experiment } from "./laboratory.ts";
import type { ProgramName } from "./programs.ts";

/** A program that people run, in one of the ways in which it can be pointed at a proxy. */
export interface Agent {
  readonly family: string;
  /** Which of its ways. */
  readonly name: string;
  readonly program: ProgramName;
  /** A model that its way serves. */
  readonly model: string;
  /** The tool that it runs commands with; undefined: it has none. */
  readonly tool: string | undefined;
  /** What it is refused with whatever it meets, as it asks each time for something that is not served. Default: it is served. */
  readonly refusedWith?: string;
  /** It says in a header which session each request is of. Default false. */
  readonly namesSession?: boolean;
  /** Only whether it is answered is looked at: what it does with refusals is looked at in another of its ways. Default false. */
  readonly isAnsweredOnly?: boolean;
  /** How many things it asks for at the same time, such as a title beside the answer. Default 1. */
  readonly requestsAtOnce?: number;
  /** What it finds in its home, by path. */
  files(experiment: Experiment): Readonly<Record<string, string>>;
  environment(experiment: Experiment): Readonly<Record<string, string>>;
  argv(experiment: Experiment, prompt: string): readonly string[];
  /** Its arguments for a run before, that sets it up. */
  setUp?(experiment: Experiment): readonly string[];
}

const GPT = "gpt-5-mini";
const CLAUDE = "claude-haiku-4-5";

const none = (): Readonly<Record<string, string>> => ({});
const v1 = ({ baseUrl }: Experiment): string => `${baseUrl}/v1`;

/** Nothing but the base URL and the credential: how most people set it up. `IS_SANDBOX`: root may let it run tools unasked. */
const claudeCode = (name: string, environment: Agent["environment"], model = CLAUDE): Agent => ({
  family: "Claude Code",
  namesSession: true,
  name,
  program: "claude-code",
  model,
  tool: "Bash",
  files: none,
  environment: (experiment) => ({
    ...environment(experiment),
    IS_SANDBOX: "1",
    DISABLE_AUTOUPDATER: "1",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  }),
  argv: (experiment, prompt) => ["--print", prompt, "--model", experiment.model, "--dangerously-skip-permissions"],
});

const opencode = (name: string, provider: string, model: string, options: (experiment: Experiment) => object): Agent => ({
  family: "OpenCode",
  namesSession: true,
  name,
  program: "opencode",
  model,
  tool: "bash",
  requestsAtOnce: 2,
  files: (experiment) => ({
    ".config/opencode/opencode.json": JSON.stringify({
      $schema: "https://opencode.ai/config.json",
      model: `${provider}/${experiment.model}`,
      small_model: `${provider}/${experiment.model}`,
      autoupdate: false,
      share: "disabled",
      enabled_providers: [provider],
      permission: "allow",
      provider: { [provider]: { ...options(experiment), models: { [experiment.model]: { name: experiment.model } } } },
    }),
  }),
  environment: none,
  argv: (_, prompt) => ["run", prompt],
});
const urlAndKey = (experiment: Experiment) => ({ options: { baseURL: v1(experiment), apiKey: experiment.key } });

const codex = (name: string, config: (experiment: Experiment) => readonly string[], model = GPT): Agent => ({
  family: "Codex",
  namesSession: true,
  name,
  program: "codex",
  model,
  tool: "exec_command",
  files: (experiment) => ({ ".codex/config.toml": [`model = "${experiment.model}"`, ...config(experiment)].join("\n") }),
  environment: ({ key }) => ({ GATEWAY_KEY: key, CODEX_API_KEY: key }),
  argv: (_, prompt) => ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt],
});

const pi = (name: string, api: string, model: string, baseUrl: (experiment: Experiment) => string): Agent => ({
  family: "Pi",
  name,
  program: "pi",
  model,
  tool: "bash",
  files: (experiment) => ({
    ".pi/agent/models.json": JSON.stringify({
      providers: { gateway: { baseUrl: baseUrl(experiment), api, apiKey: experiment.key, models: [{ id: experiment.model }] } },
    }),
  }),
  environment: () => ({ PI_OFFLINE: "1" }),
  argv: (experiment, prompt) => ["--provider", "gateway", "--model", experiment.model, "--print", prompt],
});

const aider = (name: string, prefix: string, model: string, environment: Agent["environment"]): Agent => ({
  family: "aider",
  name,
  program: "aider",
  model,
  tool: undefined,
  files: none,
  environment: (experiment) => ({ ...environment(experiment), LITELLM_LOCAL_MODEL_COST_MAP: "True" }),
  argv: (experiment, prompt) => [
    "--model",
    `${prefix}/${experiment.model}`,
    "--message",
    prompt,
    "--no-git",
    "--yes-always",
    "--no-check-update",
    "--no-analytics",
    "--no-show-model-warnings",
    "--no-pretty",
    "--map-tokens",
    "0",
  ],
});

const ownProvider = (experiment: Experiment): readonly string[] => [
  'model_provider = "gateway"',
  "[model_providers.gateway]",
  'name = "gateway"',
  `base_url = "${v1(experiment)}"`,
  'env_key = "GATEWAY_KEY"',
  'wire_api = "responses"',
];

const bareKey = ({ baseUrl, key }: Experiment): Readonly<Record<string, string>> => ({
  ANTHROPIC_BASE_URL: baseUrl,
  ANTHROPIC_API_KEY: key,
});

/** Every program that is run, in each of its ways. */
export const AGENTS: readonly Agent[] = [
  claudeCode("API key", bareKey),
  claudeCode("on a GPT model", bareKey, GPT),
  { ...claudeCode("on a GPT model that does not think", bareKey, "gpt-4o"), isAnsweredOnly: true },
  claudeCode("Bearer, URL with v1", (experiment) => ({ ANTHROPIC_BASE_URL: v1(experiment), ANTHROPIC_AUTH_TOKEN: experiment.key })),
  opencode("anthropic", "anthropic", CLAUDE, urlAndKey),
  opencode("openai", "openai", GPT, urlAndKey),
  opencode("openai-compatible", "gateway", GPT, (experiment) => ({ npm: "@ai-sdk/openai-compatible", ...urlAndKey(experiment) })),
  codex("own provider", ownProvider),
  codex("on a Claude model", ownProvider, CLAUDE),
  { ...codex("on a Claude model that thinks", ownProvider, "claude-opus-5-5"), isAnsweredOnly: true },
  codex("built-in provider", (experiment) => [`openai_base_url = "${v1(experiment)}"`]),
  pi("anthropic-messages", "anthropic-messages", CLAUDE, ({ baseUrl }) => baseUrl),
  pi("openai-completions", "openai-completions", GPT, v1),
  pi("openai-responses", "openai-responses", GPT, v1),
  {
    family: "Qwen Code",
    name: "openai",
    program: "qwen-code",
    model: GPT,
    tool: "run_shell_command",
    files: none,
    environment: (experiment) => ({ OPENAI_API_KEY: experiment.key, OPENAI_BASE_URL: v1(experiment), OPENAI_MODEL: experiment.model }),
    argv: (_, prompt) => ["--auth-type", "openai", "--yolo", prompt],
  },
  ...[
    { provider: "openai" },
    // It offers the provider's image generation each time, which has no price here.
    { provider: "openai-native", refusedWith: "What tools[1] costs cannot be said" },
  ].map(({ provider, ...rest }): Agent => ({
    ...rest,
    family: "Cline",
    name: provider,
    program: "cline",
    model: GPT,
    tool: undefined,
    files: none,
    environment: none,
    setUp: (experiment) => [
      "auth",
      "--provider",
      provider,
      "--apikey",
      experiment.key,
      "--modelid",
      experiment.model,
      "--baseurl",
      v1(experiment),
    ],
    argv: ({ model }, prompt) => ["--provider", provider, "--model", model, prompt],
  })),
  aider("openai", "openai", GPT, (experiment) => ({ OPENAI_API_BASE: v1(experiment), OPENAI_API_KEY: experiment.key })),
  aider("anthropic", "anthropic", CLAUDE, ({ baseUrl, key }) => ({ ANTHROPIC_API_BASE: baseUrl, ANTHROPIC_API_KEY: key })),
];
