import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { TOKEN } from "./test-gateway.ts";

export interface ProcessAnswer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- answers are asserted on field by field
  readonly body: any;
}

/** For tests only: a gateway as a process of its own (`killed-gateway.ts`), whose sessions stop at steps, and which is then killed. */
export class GatewayProcess {
  readonly #child: ChildProcess;
  readonly #url: string;
  readonly #held: Set<string>;

  private constructor(child: ChildProcess, port: number, held: Set<string>) {
    this.#child = child;
    this.#url = `http://127.0.0.1:${port}`;
    this.#held = held;
  }

  /** `holds`: step by session; also at what it repairs when it starts. */
  static async start(variables: Readonly<Record<string, string>>, holds: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
    const program = new URL("./killed-gateway.ts", import.meta.url);
    const environment = { GATEWAY_PORT: "0", GATEWAY_API_TOKEN: TOKEN, SANDBOX_LIFETIME_MS: "300000", ...variables };
    const child = fork(program, [JSON.stringify(environment), JSON.stringify(holds)], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
    const held = new Set<string>();
    child.on("message", (message: { held?: string }) => message.held !== undefined && held.add(message.held));
    for (;;) {
      const [message] = (await once(child, "message")) as [{ ports?: { gateway: number } }];
      if (message.ports) return new GatewayProcess(child, message.ports.gateway, held);
    }
  }

  /** Sessions that have stopped where they were told to. */
  get held(): ReadonlySet<string> {
    return this.#held;
  }

  /** From its return on, these sessions stop at these steps. */
  async hold(holds: Readonly<Record<string, string>>): Promise<void> {
    const armed = new Promise<void>((done) => {
      const listen = (message: { armed?: boolean }): void => {
        if (message.armed !== true) return;
        this.#child.off("message", listen);
        done();
      };
      this.#child.on("message", listen);
    });
    this.#child.send({ hold: holds });
    await armed;
  }

  async call(method: string, path: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<ProcessAnswer> {
    const answer = await fetch(this.#url + path, {
      method,
      headers: { "authorization": `Bearer ${TOKEN}`, "connection": "close", "content-type": "application/json", ...headers },
      ...(body && { body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: await answer.json() };
  }

  /** As `kill -9` does. Idempotent. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
