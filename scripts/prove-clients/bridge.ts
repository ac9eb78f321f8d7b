import { spawn } from "node:child_process";
import { createServer, connect } from "node:net";

/**
 * Within a network namespace that has nothing but its loopback: `bridge.ts SOCKET PORT PROGRAM ARGUMENTS…` hands on what comes to the port to a Unix
 * socket, which is outside, runs the program, and ends with its status.
 */
const [socketPath = "", port = "", program = "", ...argv] = process.argv.slice(2);

const server = createServer((inner) => {
  const outer = connect(socketPath);
  inner.pipe(outer);
  outer.pipe(inner);
  inner.once("error", () => outer.destroy());
  outer.once("error", () => inner.resetAndDestroy());
  inner.once("close", () => outer.destroy());
  outer.once("close", () => inner.destroy());
});
server.listen(Number(port), "127.0.0.1", () => {
  const child = spawn(program, argv, { stdio: "inherit" });
  child.once("error", (error) => {
    console.error(String(error));
    process.exit(127);
  });
  child.once("close", (status) => process.exit(status ?? 1));
});
