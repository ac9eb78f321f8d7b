import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** What `parseArgs` reads of a command line with these options. */
type Values<Config extends ParseArgsOptionsConfig> = ReturnType<typeof parseArgs<{ options: Config }>>["values"];

interface Script<Config extends ParseArgsOptionsConfig, Options> {
  /** Printed for `--help` and `-h`, and behind what is wrong with other options. */
  readonly help: string;
  /** As `parseArgs` takes them; the option `help` is added. */
  readonly options: Config;
  /** Throws an error whose message says which option is wrong, and why. */
  check(values: Values<Config>): Options;
  /** Returns the exit status. */
  run(options: Options): Promise<number>;
}

/**
 * The command line of a script: reads its options, refuses what it does not know, and runs it. Returns the exit status: that of `run`,
 * 0 for `--help`, 2 where an option is wrong, which is said on standard error with the help behind it; then nothing was begun.
 */
export async function runScript<const Config extends ParseArgsOptionsConfig, Options>(script: Script<Config, Options>): Promise<number> {
  const help = `${script.help.trimEnd()}\n`;
  let options;
  try {
    const { values } = parseArgs({ options: { ...script.options, help: { type: "boolean", short: "h", default: false } } });
    if ((values as { readonly help?: boolean }).help === true) return (process.stdout.write(help), 0);
    options = script.check(values as Values<Config>);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}`);
    return 2;
  }
  return script.run(options);
}

/** The value of an option that takes a whole number from `from` (default 1) to `to` (default 999,999,999). Throws on anything else. */
export function wholeNumber(option: string, text: string, { from = 1, to = 999_999_999 } = {}): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= from && value <= to) return value;
  throw new TypeError(`--${option} must be a whole number from ${from} to ${to}, not "${text}"`);
}
