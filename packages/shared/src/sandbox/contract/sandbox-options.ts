import { AppError } from "../../errors/index.ts";
import type { SandboxOptions } from "./provider.ts";

const dayMs = 24 * 60 * 60 * 1000;

/** Throws `invalid_request` naming the option that no launcher could honour. */
export function checkSandboxOptions({ sessionId, environment, timeoutMs, ports = [], files = {} }: SandboxOptions): void {
  if (sessionId === "") throw wrong("sessionId", "must not be empty");
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1000 || timeoutMs > dayMs || timeoutMs % 1000 !== 0) {
    throw wrong("timeoutMs", `must be a multiple of 1000 from 1000 to ${dayMs}`);
  }
  for (const port of ports) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw wrong("ports", "must be port numbers");
  }
  if (new Set(ports).size !== ports.length) throw wrong("ports", "must not name a port twice");
  checkEnvironment(environment);
  for (const path of Object.keys(files)) checkSandboxPath(path);
}

/** Throws `invalid_request` naming the variable, never its value. */
export function checkEnvironment(environment: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(environment)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw wrong("environment", `has ${JSON.stringify(name)}, which is not the name of a variable`);
    if (value.includes("\0")) throw wrong("environment", `has a NUL byte in the value of ${name}`);
  }
}

/** Throws `invalid_request` unless the path leads to something below the home directory. */
export function checkSandboxPath(path: string): void {
  const segments = path.split("/");
  if (path === "" || path.includes("\0") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw wrong("path", `must be relative to the home directory, without empty parts and "..", not ${JSON.stringify(path)}`);
  }
}

/** Throws `invalid_request` for a command without a program. */
export function checkCommand(command: readonly string[]): void {
  if (!command[0] || command.some((argument) => argument.includes("\0")))
    throw wrong("command", "must be a program and its arguments, without NUL bytes");
}

const wrong = (param: string, problem: string): AppError => new AppError("invalid_request", `The option ${param} ${problem}.`, { param });
