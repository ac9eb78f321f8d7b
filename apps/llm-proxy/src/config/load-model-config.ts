import type { EnvironmentSource } from "@proliferate/shared/env";
import { readDeployment } from "./deployment.ts";
import { readReference } from "./environment-reference.ts";
import { isMoneySetting, refuseBounds } from "./model-price.ts";
import { type Deployment, ModelTable } from "./model-table.ts";
import { type YamlCursor, YamlFile } from "./yaml-cursor.ts";

/** How errors name the file that is read. */
interface LoadModelConfigOptions {
  /** The file's name in error messages. Default `litellm/config.yaml`. */
  readonly file?: string;
}

interface RouterSettings {
  /** `num_retries`: repeats of a request of which the provider has answered nothing. Default 2. */
  readonly retries: number;
  /** `retry_after`, the least pause before a repeat. Default 0. */
  readonly retryAfterMs: number;
  /** `timeout`: how long a provider may stay silent. Default 300 s. */
  readonly timeoutMs: number;
}

export interface ModelConfig {
  readonly models: ModelTable;
  readonly router: RouterSettings;
  /** `general_settings.master_key`, resolved; undefined if it is missing or its variable is not set. */
  readonly masterKey: string | undefined;
  /** `general_settings.database_url`, likewise. */
  readonly databaseUrl: string | undefined;
  /** Settings that stock LiteLLM knows and this engine does not: `file:line:column: name`. To be logged at the start. */
  readonly ignoredSettings: readonly string[];
}

const KNOWN_SETTINGS: Readonly<Record<string, readonly string[]>> = {
  general_settings: ["master_key", "database_url"],
  // drop_params and set_verbose are for LiteLLM; this engine passes every parameter on and logs none.
  litellm_settings: ["drop_params", "set_verbose"],
  router_settings: ["num_retries", "retry_after", "timeout"],
  model_list: [],
};

/**
 * Reads LiteLLM's config.yaml, as far as this engine follows it. Reads nothing but its arguments. Throws `config_invalid`,
 * with line, column and what to write instead, for: broken YAML, a missing or repeated `model_name`, a provider or a
 * setting's value that cannot be used, a price or a limit that is not understood or stands where none is read. An environment variable that is not set is no error here.
 */
export function loadModelConfig(yamlText: string, environment: EnvironmentSource, options: LoadModelConfigOptions = {}): ModelConfig {
  const root = new YamlFile(options.file ?? "litellm/config.yaml", yamlText).root();
  const general = root.get("general_settings");
  const router = root.get("router_settings");
  return {
    models: new ModelTable(readDeployments(root, environment)),
    router: {
      retries: router.get("num_retries").number(0, "whole") ?? 2,
      retryAfterMs: Math.round(1_000 * (router.get("retry_after").number(0) ?? 0)),
      timeoutMs: Math.round(1_000 * (router.get("timeout").number(0.001) ?? 300)),
    },
    masterKey: readReference(general.get("master_key"), environment)?.value,
    databaseUrl: readReference(general.get("database_url"), environment)?.value,
    ignoredSettings: findIgnoredSettings(root),
  };
}

function readDeployments(root: YamlCursor, environment: EnvironmentSource): readonly Deployment[] {
  const list = root.get("model_list");
  if (!list.exists) throw list.error("is missing; list at least one model under `model_list:`");
  const places = new Map<string, string>();
  return list.items().map((entry) => {
    const deployment = readDeployment(entry, environment);
    const earlier = places.get(deployment.modelName);
    const name = entry.get("model_name");
    if (earlier)
      throw name.error(
        `"${deployment.modelName}" is already defined at ${earlier}; several deployments of one name are not supported, remove one`,
      );
    places.set(deployment.modelName, name.place());
    return deployment;
  });
}

function findIgnoredSettings(root: YamlCursor): readonly string[] {
  const sections = Object.entries(KNOWN_SETTINGS).filter(([section]) => section !== "model_list");
  const entries = root.get("model_list").items().flatMap(unknownModelSettings);
  const ignored = [
    ...unknownSettings(root, Object.keys(KNOWN_SETTINGS)),
    ...sections.flatMap(([section, known]) => unknownSettings(root.get(section), known)),
    ...entries,
  ];
  for (const cursor of ignored) refuseBounds(cursor);
  return ignored.map((cursor) => `${cursor.place()}: ${cursor.path}`);
}

/** What means money is read by `model-price.ts`, or has stopped the start. */
function unknownModelSettings(entry: YamlCursor): readonly YamlCursor[] {
  const inEntry = unknownSettings(entry, ["model_name", "litellm_params", "model_info"]);
  const inParams = unknownSettings(entry.get("litellm_params"), ["model", "api_key", "api_base"]);
  const inInfo = unknownSettings(entry.get("model_info"), ["base_model", "max_tokens", "max_input_tokens", "max_output_tokens"]);
  return [...inEntry, ...[...inParams, ...inInfo].filter((cursor) => !isMoneySetting(cursor.path.slice(cursor.path.lastIndexOf(".") + 1)))];
}

function unknownSettings(cursor: YamlCursor, known: readonly string[]): readonly YamlCursor[] {
  return cursor
    .keys()
    .filter((key) => !known.includes(key))
    .map((key) => cursor.get(key));
}
