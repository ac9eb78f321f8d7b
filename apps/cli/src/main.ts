import { surfaceOf } from "@proliferate/runtime";
import { runCommandLine } from "./command-line.ts";

// A reader that has seen enough (`| head`) closes the pipe; that is its right, and no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

process.exitCode = await runCommandLine(process.argv.slice(2), {
  environment: process.env,
  write: (text) => new Promise((done, fail) => process.stdout.write(text, (error) => (error ? fail(error) : done()))),
  surfaces: { output: surfaceOf(process.stdout, process.env), errors: surfaceOf(process.stderr, process.env) },
  writeError: (text) => process.stderr.write(text),
});
