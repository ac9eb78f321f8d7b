import { parser } from "@prometheus-io/lezer-promql";
import type { SyntaxNode } from "@lezer/common";

/** The part of PromQL that our rules are written in. Everything else is refused, so that no rule is taken for checked. */
export type PromQuery =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "selector"; readonly metric: string; readonly matchers: readonly LabelMatcher[]; readonly offsetMs: number }
  | { readonly kind: "aggregation"; readonly operator: "max" | "min" | "sum"; readonly by: readonly string[]; readonly of: PromQuery }
  | { readonly kind: "absent"; readonly of: PromQuery }
  | {
      readonly kind: "binary";
      readonly operator: BinaryOperator;
      readonly on: readonly string[] | undefined;
      readonly left: PromQuery;
      readonly right: PromQuery;
    };

export interface LabelMatcher {
  readonly label: string;
  readonly value: string;
  readonly isEqual: boolean;
}

export type BinaryOperator = (typeof BINARY_OPERATORS)[keyof typeof BINARY_OPERATORS];

const BINARY_OPERATORS = {
  Add: "+",
  Sub: "-",
  Mul: "*",
  Div: "/",
  Gtr: ">",
  Gte: ">=",
  Lss: "<",
  Lte: "<=",
  Eql: "==",
  Neq: "!=",
  And: "and",
  Or: "or",
  Unless: "unless",
} as const;
const AGGREGATIONS = { Max: "max", Min: "min", Sum: "sum" } as const;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses an expression with Prometheus's own grammar. Throws an Error that shows the place, or names what is not of our part. */
export function parsePromQuery(text: string): PromQuery {
  const tree = parser.parse(text);
  tree.iterate({
    enter: ({ type, from }) => {
      if (type.isError) throw new Error(`not PromQL at "${text.slice(from)}" of "${text}"`);
    },
  });
  const [expression, ...more] = childrenOf(tree.topNode);
  if (expression === undefined || more.length > 0) throw new Error(`not one expression: "${text}"`);
  return new QueryReader(text).read(expression);
}

/** Milliseconds of a duration such as `10m`. Throws an Error on anything else. */
export function parseDurationMs(text: string): number {
  const [, count, unit = ""] = /^(\d+)([a-z]+)$/.exec(text) ?? [];
  const unitMs = UNIT_MS[unit];
  if (unitMs === undefined) throw new Error(`not a duration: "${text}"`);
  return Number(count) * unitMs;
}

class QueryReader {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  read(node: SyntaxNode): PromQuery {
    switch (node.name) {
      case "NumberDurationLiteral":
        return { kind: "number", value: Number(this.#textOf(node)) };
      case "ParenExpr":
        return this.read(only(childrenOf(node), node));
      case "VectorSelector":
        return this.#selector(node, 0);
      case "OffsetExpr":
        return this.#selector(child(node, "VectorSelector"), parseDurationMs(this.#textOf(child(node, "OffsetDurationExpr")).trim()));
      case "AggregateExpr":
        return this.#aggregation(node);
      case "FunctionCall":
        if (this.#textOf(child(node, "FunctionIdentifier")) !== "absent") break;
        return { kind: "absent", of: this.read(only(childrenOf(child(node, "FunctionCallBody")), node)) };
      case "BinaryExpr":
        return this.#binary(node);
    }
    throw this.#unsupported(node);
  }

  #selector(node: SyntaxNode, offsetMs: number): PromQuery {
    const matchers = node.getChild("LabelMatchers")?.getChildren("UnquotedLabelMatcher") ?? [];
    return {
      kind: "selector",
      metric: this.#textOf(child(node, "Identifier")),
      matchers: matchers.map((matcher) => this.#matcher(matcher)),
      offsetMs,
    };
  }

  #matcher(node: SyntaxNode): LabelMatcher {
    const operator = this.#textOf(child(node, "MatchOp"));
    if (operator !== "=" && operator !== "!=") throw this.#unsupported(node);
    return {
      label: this.#textOf(child(node, "LabelName")),
      value: JSON.parse(this.#textOf(child(node, "StringLiteral"))) as string,
      isEqual: operator === "=",
    };
  }

  #aggregation(node: SyntaxNode): PromQuery {
    const operator = AGGREGATIONS[only(childrenOf(child(node, "AggregateOp")), node).name as keyof typeof AGGREGATIONS];
    const modifier = node.getChild("AggregateModifier");
    if (operator === undefined || modifier?.getChild("Without")) throw this.#unsupported(node);
    return {
      kind: "aggregation",
      operator,
      by: this.#labels(modifier),
      of: this.read(only(childrenOf(child(node, "FunctionCallBody")), node)),
    };
  }

  #binary(node: SyntaxNode): PromQuery {
    const children = childrenOf(node);
    const matching = node.getChild("MatchingModifierClause");
    const operator = children.map(({ name }) => BINARY_OPERATORS[name as keyof typeof BINARY_OPERATORS]).find((name) => name !== undefined);
    const [left, right] = [children[0], children.at(-1)];
    if (operator === undefined || left === undefined || right === undefined) throw this.#unsupported(node);
    if (node.getChild("BoolModifier") || ["Ignoring", "GroupLeft", "GroupRight"].some((name) => matching?.getChild(name)))
      throw this.#unsupported(node);
    return {
      kind: "binary",
      operator,
      on: matching === null ? undefined : this.#labels(matching),
      left: this.read(left),
      right: this.read(right),
    };
  }

  #labels(node: SyntaxNode | null): readonly string[] {
    return (node?.getChild("GroupingLabels")?.getChildren("LabelName") ?? []).map((label) => this.#textOf(label));
  }

  #textOf(node: SyntaxNode): string {
    return this.#text.slice(node.from, node.to);
  }

  #unsupported(node: SyntaxNode): Error {
    return new Error(`"${this.#textOf(node)}" (${node.name}) is not of the part of PromQL that our rules are written in`);
  }
}

function childrenOf(node: SyntaxNode): readonly SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let next = node.firstChild; next !== null; next = next.nextSibling) children.push(next);
  return children;
}

function child(node: SyntaxNode, name: string): SyntaxNode {
  const found = node.getChild(name);
  if (found === null) throw new Error(`${node.name} has no ${name}`);
  return found;
}

function only(nodes: readonly SyntaxNode[], parent: SyntaxNode): SyntaxNode {
  const [node, ...more] = nodes;
  if (node === undefined || more.length > 0) throw new Error(`${parent.name} has ${nodes.length} parts, not one`);
  return node;
}
