import { startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";

/** The provider of the benchmark in a process of its own: it answers at once, so that what is measured is the way there and back. */
const standIn = await startProviderStandIn({ journalSize: 1, frameGapMs: 0 });
process.on("disconnect", () => process.exit(0));
process.send?.({ port: standIn.port });
