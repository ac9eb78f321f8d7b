/** The wire format of a route: it decides how an answer is read and how an error is told. */
export type Dialect = "anthropic" | "openai";
