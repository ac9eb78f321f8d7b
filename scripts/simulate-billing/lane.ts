import { createSchedule } from "@proliferate/services/test/simulation/schedule";
import { simulate } from "@proliferate/services/test/simulation/simulation";
import { openSimulationDatabase } from "@proliferate/services/test/simulation/simulation-database";

/** A process that simulates the seeds it is sent, one at a time, on a database of its own. */
export interface LaneReport {
  readonly seed: number;
  readonly steps: number;
  readonly violation: string | undefined;
}

const database = await openSimulationDatabase(process.argv[2] ?? "");
process.on("message", (seed: number | "end") => {
  if (seed === "end") return void database.close().then(() => process.disconnect());
  void simulate(database, createSchedule(seed)).then(
    ({ violation, steps }) => process.send?.({ seed, steps, violation } satisfies LaneReport),
    (error: Error) => process.send?.({ seed, steps: 0, violation: `the simulation itself failed: ${error.stack}` } satisfies LaneReport),
  );
});
process.once("disconnect", () => process.exit());
process.send?.("ready");
