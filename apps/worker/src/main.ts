import { runProcess } from "@proliferate/runtime";
import { parseWorkerConfig } from "./env.ts";
import { startWorker } from "./worker.ts";

await runProcess("worker", (lifecycle, logger) => startWorker(parseWorkerConfig(process.env), lifecycle, logger));
