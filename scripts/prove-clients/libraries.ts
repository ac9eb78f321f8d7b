import { inLanes } from "./lanes.ts";
import type { Laboratory } from "./laboratory.ts";
import { type Outcome, steady, wrongsOf } from "./outcomes.ts";
import { PythonError } from "./python-libraries.ts";
import { SDK_CLIENTS, type SdkClient } from "./sdk-clients.ts";
import { type Situation, SITUATIONS } from "./situations.ts";

/** So many at once: each of them waits most of the time. */
const AT_ONCE = 64;

/** Every library in every situation, in that order; default: those of Node. Never rejects because of a library. */
export async function runLibraries(laboratory: Laboratory, clients: readonly SdkClient[] = SDK_CLIENTS): Promise<readonly Outcome[]> {
  const cases = SITUATIONS.flatMap((situation) => clients.map((client) => ({ situation, client })));
  return inLanes(cases, AT_ONCE, ({ situation, client }) => run(laboratory, situation, client));
}

async function run(laboratory: Laboratory, situation: Situation, client: SdkClient): Promise<Outcome> {
  const experiment = await laboratory.begin(situation, client.model);
  const { isAnswered, text } = await client.ask(experiment).then(
    (answer) => ({ isAnswered: true, text: answer }),
    (error: unknown) => ({ isAnswered: false, text: errorText(error) }),
  );
  const observation = await laboratory.end(experiment);
  return {
    situation,
    family: client.library,
    client: client.name,
    asked: observation.recorded.answers,
    isAnswered,
    isSteady: true,
    told: isAnswered ? "its answer" : steady(shownText(text), experiment.model),
    wrong: [
      ...wrongsOf(experiment, observation, { text, isAnswered }),
      ...(isAnswered && !text.includes(experiment.mark) ? ["has another answer than its own"] : []),
    ],
  };
}

/** As a program prints it that prints the class and the message. */
function errorText(error: unknown): string {
  const { message } = error as { readonly message?: unknown };
  // Python has said its own.
  if (error instanceof PythonError) return String(message);
  const name = (error as object).constructor.name;
  return `${name === "Object" ? "an error part" : name}: ${String(message)}`;
}

/** Of an envelope within a message, the message in it; the rest is names of types. */
function shownText(text: string): string {
  return text.replace(/\{"type":"error",.*\}$/s, (envelope) => {
    const { error } = JSON.parse(envelope) as { readonly error: { readonly message: string } };
    return `{… ${error.message} …}`;
  });
}
