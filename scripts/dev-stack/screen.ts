import { fitText, mark, type TextSurface } from "@proliferate/runtime";

/** What a person sees. Everything goes to stdout in the order it happens; children log to files. */
export interface Screen {
  /** A part that is up, and whether it is real or a stand-in. */
  part(name: string, what: string, kind?: "stand-in"): void;
  heading(text: string): void;
  line(text: string): void;
  /** To be pasted as it is: never wrapped. */
  verbatim(text: string): void;
  /** One stage of the trail: what happened, and its facts. */
  stage(name: string, facts: string): void;
}

export function createScreen(write: (text: string) => void, surface: TextSurface): Screen {
  const line = (text: string): void => write(`${fitText(text, surface)}\n`);
  return {
    line,
    verbatim: (text) => write(`${text}\n`),
    heading: (text) => line(`\n${mark.strong(text)}`),
    part: (name, what, kind) => line(`  ${name.padEnd(12)} ${kind === "stand-in" ? `${mark.warn("[STAND-IN]")} ` : ""}${what}`),
    stage: (name, facts) => line(`  ${name.padEnd(18)} ${facts}`),
  };
}
