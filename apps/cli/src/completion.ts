import { Argument, type Command } from "commander";

/** The shells for which there is a script. */
const SHELLS = ["bash", "zsh"] as const;
type Shell = (typeof SHELLS)[number];

/** One word that may be typed, and what it is for. */
interface Word {
  readonly word: string;
  readonly description: string;
}

/** A command, by the words that lead to it (`""` is the group itself, `/org/list` its command `org list`), with what may follow. */
interface Place {
  readonly path: string;
  /** Commands below, options, and the values that the next argument may have. */
  readonly words: readonly Word[];
  /** Options that take a value, each with those that it may have; none where that is free. */
  readonly valued: ReadonlyMap<string, readonly string[]>;
}

/** Gives each group of the program the command `completion`, which hands the script for a shell to `write`. */
export function registerCompletion(program: Command, write: (text: string) => Promise<void>): void {
  for (const group of program.commands)
    group
      .command("completion")
      .description("print what makes a shell complete these commands; eval takes it")
      .addArgument(new Argument("<shell>", "whose").choices(SHELLS))
      .allowExcessArguments(false)
      .action((shell: Shell) => write(completionScript(group, shell)));
}

/** The script that makes a shell complete a group of commands and options, made from the commands themselves. Pure. */
function completionScript(group: Command, shell: Shell): string {
  const places = placesOf(group, "");
  return shell === "bash" ? bashScript(group.name(), places) : zshScript(group.name(), places);
}

function placesOf(command: Command, path: string): readonly Place[] {
  const commands = command.commands.map((one) => ({ word: one.name(), description: one.description() }));
  const options = command.createHelp().visibleOptions(command);
  const flags = options.flatMap(({ long, short, description }) =>
    [long, short].flatMap((word) => (word === undefined ? [] : [{ word, description }])),
  );
  const values = (command.registeredArguments[0]?.argChoices ?? []).map((word) => ({ word, description: "" }));
  const valued = new Map(
    options.flatMap(({ long, required, optional, argChoices }) =>
      long !== undefined && (required || optional) ? [[long, argChoices ?? []] as const] : [],
    ),
  );
  return [
    { path, words: [...commands, ...values, ...flags], valued },
    ...command.commands.flatMap((one) => placesOf(one, `${path}/${one.name()}`)),
  ];
}

/** Text of a shell in single quotes: nothing in it is anything but itself. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * The walk along the words that were typed, the same in both shells: `at` becomes the place that they lead to, and `option` the option
 * whose value is being typed, if it is one.
 */
function walk(
  places: readonly Place[],
  firstIndex: number,
  words: { readonly at: (index: string) => string; readonly current: string },
): string {
  const steps = places.flatMap(({ path, valued }) => [
    ...(path === "" ? [] : [`      ${quoted(path.replace(/\/([^/]+)$/, " $1"))}) at=${quoted(path)} ;;`]),
    ...[...valued.keys()].map((option) => `      ${quoted(`${path} ${option}`)}) option=$word ;;`),
  ]);
  return `  local at='' option='' word i
  for ((i = ${firstIndex}; i < ${words.current}; i += 1)); do
    word=${words.at("i")}
    if [[ -n $option ]]; then option=''; continue; fi
    case "$at $word" in
${steps.join("\n")}
    esac
  done`;
}

function bashScript(name: string, places: readonly Place[]): string {
  const cases = places.flatMap(({ path, words, valued }) => [
    ...[...valued].map(([option, values]) => `    ${quoted(`${path} ${option}`)}) words=${quoted(values.join(" "))} ;;`),
    `    ${quoted(`${path} `)}) words=${quoted(words.map(({ word }) => word).join(" "))} ;;`,
  ]);
  return `# Completes ./scripts/${name} in Bash: eval "$(./scripts/${name} completion bash)"
_llm_gateway_${name}() {
${walk(places, 1, { at: (index) => `\${COMP_WORDS[${index}]}`, current: "COMP_CWORD" })}
  local words=''
  case "$at $option" in
${cases.join("\n")}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}")
}
complete -F _llm_gateway_${name} ${name}
`;
}

/** An entry of Zsh's `_describe`: the word, and behind a colon what it is for. */
const described = ({ word, description }: Word): string => quoted(`${word.replaceAll(":", "\\:")}${description && `:${description}`}`);

function zshScript(name: string, places: readonly Place[]): string {
  const cases = places.flatMap(({ path, words, valued }) => [
    ...[...valued].map(([option, values]) => `    ${quoted(`${path} ${option}`)}) entries=(${values.map(quoted).join(" ")}) ;;`),
    `    ${quoted(`${path} `)}) entries=(${words.map(described).join(" ")}) ;;`,
  ]);
  return `# Completes ./scripts/${name} in Zsh: eval "$(./scripts/${name} completion zsh)"
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_llm_gateway_${name}() {
${walk(places, 2, { at: (index) => `\${words[${index}]}`, current: "CURRENT" })}
  local -a entries
  case "$at $option" in
${cases.join("\n")}
  esac
  _describe ${name} entries
}
compdef _llm_gateway_${name} ${name}
`;
}
