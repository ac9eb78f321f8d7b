import { endLocalSandbox } from "./folders.ts";

/** The end of a keeper's life: `node keeper.ts ROOT ID` ends that sandbox. See `start-keeper.ts`. */
const [root, id] = process.argv.slice(2);
if (root !== undefined && id !== undefined) await endLocalSandbox(root, id);
