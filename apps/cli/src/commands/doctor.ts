import { examineSink } from "@proliferate/services/reports";
import type { Action } from "../command-context.ts";
import { parseReconcileSettings } from "../env.ts";
import { EXIT } from "../exit-status.ts";
import { jsonDocument } from "../output.ts";

/** `billing doctor`: what a delivery will meet at the sink, before it does. Reads only. */
export function doctor(): Action {
  return async ({ db, json, environment, write }) => {
    const checks = await examineSink(db, parseReconcileSettings(environment).sinks);
    await write(
      json
        ? jsonDocument({ checks })
        : checks.map(({ name, outcome, message }) => `${outcome.padEnd(8)} ${name}: ${message}`).join("\n") + "\n",
    );
    return checks.some(({ outcome }) => outcome === "failed") ? EXIT.problemFound : EXIT.done;
  };
}
