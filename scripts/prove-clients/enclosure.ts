import { execFile, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const BRIDGE = fileURLToPath(new URL("bridge.ts", import.meta.url));
const MOST_OUTPUT_BYTES = 4 * 1024 * 1024;

/** How a program ended. */
export interface Ended {
  /** Null: it was ended by us. */
  readonly status: number | null;
  /** What it wrote, standard error included, in the order in which it came. */
  readonly text: string;
  readonly isOutOfTime: boolean;
}

interface ProgramRun {
  readonly program: string;
  readonly argv: readonly string[];
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** Where programs run that can reach one port of this machine, and nothing else. */
export interface Enclosure {
  readonly isEnclosed: boolean;
  /** How it is enclosed, in words; and that it is not, where it cannot be. */
  readonly description: string;
  run(program: ProgramRun): Promise<Ended>;
}

/** Programs leave servers behind that outlive them: with the namespace of their process ids they end. As root it needs no user of its own. */
const UNSHARE = [
  "unshare",
  ...(process.getuid?.() === 0 ? [] : ["--map-root-user"]),
  "--net",
  "--pid",
  "--fork",
  "--kill-child",
  "--mount-proc",
];
const WITH_LOOPBACK = [...UNSHARE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];

/** Encloses by a network namespace where this machine lets us make one. `socketPath` and `port` are the two ends of the only way out. */
export async function findEnclosure(socketPath: string, port: number): Promise<Enclosure> {
  const [first = "", ...rest] = WITH_LOOPBACK;
  const reason = await promisify(execFile)(first, [...rest, "true"]).then(
    () => undefined,
    (error: { readonly stderr?: string }) => (error.stderr || String(error)).trim(),
  );
  if (reason !== undefined)
    return {
      isEnclosed: false,
      description: `NOT ENCLOSED: no network namespace can be made here (${reason}); the clients have this machine's network`,
      run,
    };
  return {
    isEnclosed: true,
    description: "each client in a network namespace with loopback only",
    run: (program) =>
      run({
        ...program,
        program: first,
        argv: [...rest, process.execPath, BRIDGE, socketPath, String(port), program.program, ...program.argv],
      }),
  };
}

/** Runs a program in a process group of its own, which is ended whole when its time is over. */
async function run({ program, argv, folder, environment, timeoutMs }: ProgramRun): Promise<Ended> {
  const child = spawn(program, argv, { cwd: folder, env: environment, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more: string) => {
      if (text.length < MOST_OUTPUT_BYTES) text += more;
    });
  const end = (): void => {
    // Gone already where it ended by itself in this moment.
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
  };
  process.once("exit", end);
  let isOutOfTime = false;
  const timer = setTimeout(() => {
    isOutOfTime = true;
    end();
  }, timeoutMs);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  clearTimeout(timer);
  process.off("exit", end);
  return { status, text, isOutOfTime };
}
