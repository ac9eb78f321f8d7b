import { connect } from "node:net";

/** What came back on a connection of its own. */
export interface RawAnswer {
  /** 0: the connection was closed without an answer. */
  readonly status: number;
  readonly body: string;
  /** Its end came as its head had announced it. */
  readonly isWhole: boolean;
}

interface RawRequest {
  /** Sent one after the other, as they are. */
  readonly pieces: readonly Uint8Array[];
  /** Whether the caller says that nothing more comes, as one does who sent less than it had announced. */
  readonly endsEarly: boolean;
  /** The caller goes away when it has read so many bytes; undefined: it stays. */
  readonly leavesAfterBytes?: number | undefined;
}

/** So much of an answer is kept to be looked at. */
const KEPT_BYTES = 64 * 1024;

/**
 * Sends bytes that need be no HTTP, and reads until the answer is whole or the connection is closed. Rejects with `hang` where neither happens within
 * the limit.
 */
export async function sendRaw(url: string, { pieces, endsEarly, leavesAfterBytes }: RawRequest, limitMs: number): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const reading = new AnswerReader();
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error("hang"));
    }, limitMs);
    const end = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reading.answer());
    };
    socket.on("error", () => undefined);
    socket.once("close", end);
    socket.on("data", (chunk: Buffer) => {
      reading.add(chunk);
      if (reading.isWhole || (leavesAfterBytes !== undefined && reading.bytes >= leavesAfterBytes)) end();
    });
    socket.once("connect", () => {
      for (const piece of pieces) socket.write(piece);
      if (endsEarly) socket.end();
    });
  });
}

/** Reads one answer of HTTP/1.1 as far as is needed to know where it ends. */
class AnswerReader {
  #head = "";
  #body: Buffer[] = [];
  #kept = 0;
  #bodyBytes = 0;
  #tail = "";
  bytes = 0;

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.#isHeadWhole) return this.#addBody(chunk);
    this.#head += chunk.toString("latin1");
    // What only says that an answer will come is none.
    this.#head = this.#head.replace(/^HTTP\/1\.1 1\d\d [^]*?\r\n\r\n/, "");
    const end = this.#head.indexOf("\r\n\r\n");
    if (end === -1) return;
    const rest = Buffer.from(this.#head.slice(end + 4), "latin1");
    this.#head = this.#head.slice(0, end + 4);
    this.#addBody(rest);
  }

  get #isHeadWhole(): boolean {
    return this.#head.endsWith("\r\n\r\n");
  }

  #addBody(chunk: Buffer): void {
    this.#bodyBytes += chunk.length;
    this.#tail = (this.#tail + chunk.subarray(-7).toString("latin1")).slice(-7);
    if (this.#kept >= KEPT_BYTES) return;
    this.#kept += chunk.length;
    this.#body.push(chunk);
  }

  get isWhole(): boolean {
    if (!this.#isHeadWhole) return false;
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(this.#head)?.[1];
    if (length !== undefined) return this.#bodyBytes >= Number(length);
    return /\r\ntransfer-encoding: chunked\r\n/i.test(this.#head) && (this.#tail === "\r\n0\r\n\r\n" || this.#tail === "0\r\n\r\n");
  }

  answer(): RawAnswer {
    return {
      status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(this.#head)?.[1] ?? 0),
      body: Buffer.concat(this.#body).toString("utf8"),
      isWhole: this.isWhole,
    };
  }
}
