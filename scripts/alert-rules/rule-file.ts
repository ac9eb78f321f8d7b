import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import { parseDurationMs, parsePromQuery, type PromQuery } from "./prom-query.ts";

const duration = z.string().transform(parseDurationMs);

/** Exactly what Prometheus knows, and what our operators need. */
const ruleFileSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string().min(1),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^[A-Z]\w*$/),
          expr: z.string(),
          for: duration.default(0),
          labels: z.strictObject({ severity: z.enum(["page", "ticket"]) }),
          annotations: z.strictObject({ summary: z.string().min(1), action: z.string().min(1) }),
        }),
      ),
    }),
  ),
});

export interface AlertRule {
  readonly name: string;
  readonly expression: string;
  readonly query: PromQuery;
  /** How long it must hold before somebody is told. */
  readonly forMs: number;
  readonly severity: "page" | "ticket";
  readonly summary: string;
  readonly action: string;
}

/** The rules of a file. Throws an Error when it is none that Prometheus would load, or a rule goes beyond what is checked here. */
export async function readRuleFile(file: URL): Promise<readonly AlertRule[]> {
  const { groups } = ruleFileSchema.parse(parse(await readFile(file, "utf8")));
  return groups.flatMap(({ rules }) =>
    rules.map((rule) => ({
      name: rule.alert,
      expression: rule.expr,
      query: parsePromQuery(rule.expr),
      forMs: rule.for,
      severity: rule.labels.severity,
      ...rule.annotations,
    })),
  );
}
