import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/** The reference: a proxy in Node that only passes bytes on. It knows no key, counts nothing, and keeps nothing. */
const port = Number(process.argv[2]);
const agent = new Agent({ keepAlive: true });
const server = createServer((incoming, response) => {
  const { host: _host, ...headers } = incoming.headers;
  const outgoing = request({ host: "127.0.0.1", port, path: incoming.url, method: incoming.method, headers, agent }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  outgoing.on("error", () => response.destroy());
  incoming.pipe(outgoing);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
process.on("disconnect", () => process.exit(0));
process.send?.({ port: (server.address() as AddressInfo).port });
