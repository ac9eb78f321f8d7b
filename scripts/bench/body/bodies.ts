/** Bodies as agents send them, and as an attacker would. Made when they are asked for: some are large. */

const turn = (index: number): readonly unknown[] => [
  {
    role: "assistant",
    content: [
      { type: "text", text: "Some words about the file. ".repeat(8) },
      { type: "tool_use", id: `toolu_${index}`, name: "Read", input: { file_path: `/a/b/c${index}`, limit: 200 } },
    ],
  },
  {
    role: "user",
    content: [
      { type: "tool_result", tool_use_id: `toolu_${index}`, content: [{ type: "text", text: 'const x = "y";\n  return 1;\n'.repeat(40) }] },
    ],
  },
];

const tools = (): readonly unknown[] =>
  Array.from({ length: 30 }, (_, tool) => ({
    name: `tool_${tool}`,
    description: "d".repeat(800),
    input_schema: {
      type: "object",
      properties: Object.fromEntries(
        Array.from({ length: 6 }, (__, property) => [`p${property}`, { type: "string", description: "what it is about" }]),
      ),
    },
  }));

const agent = (turns: number): Buffer =>
  Buffer.from(
    JSON.stringify({
      ...{ model: "claude-sonnet-5", max_tokens: 64_000, stream: true, system: [{ type: "text", text: "s".repeat(12_000) }] },
      tools: tools(),
      messages: Array.from({ length: turns }, (_, index) => turn(index)).flat(),
    }),
  );

const messages = (text: string): Buffer => Buffer.from(`{"model":"m","messages":${text}}`);

export const BODIES: Readonly<Record<string, () => Buffer>> = {
  "agent, 10 turns": () => agent(10),
  "agent, 110 turns": () => agent(110),
  "agent, 1,300 turns": () => agent(1_300),
  "an image": () =>
    Buffer.from(
      JSON.stringify({
        model: "m",
        messages: [
          {
            role: "user",
            content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0K".repeat(2 ** 20) } }],
          },
        ],
      }),
    ),
  "empty lists": () => messages(`[${"[],".repeat(900_000)}[]]`),
  "objects": () => messages(`[${'{"a":1},'.repeat(450_000)}1]`),
  "names of one object": () => messages(`[{${Array.from({ length: 900_000 }, (_, index) => `"k${index}":1`).join(",")}}]`),
  "spaces": () => messages(`[${" ".repeat(31 * 2 ** 20)}]`),
  "escapes": () => messages(`"${"\\u00e9".repeat(5_000_000)}"`),
};
