import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { type Finding, findingSchema } from "./finding.ts";

/** More no sealed finding has. */
export const MOST_SEALED_BYTES = 8 * 1024;

const PREFIX = "llm-gateway:used-up:";
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * How findings leave this process. They are encrypted and authenticated (AES-256-GCM) by a key that only the proxies of one database derive, and bound to
 * the key of which they tell; so whoever reads Redis learns nothing of callers, and whoever writes to it can make none up.
 */
export class FindingSeal {
  readonly #namingKey: Buffer;
  readonly #sealingKey: Buffer;

  /** `database`: what all proxies of one database call it, and no other's do. */
  constructor({ masterKey, database }: { readonly masterKey: string; readonly database: string }) {
    const derive = (use: string): Buffer => Buffer.from(hkdfSync("sha256", masterKey, database, `findings of used-up limits: ${use}`, 32));
    this.#namingKey = derive("names");
    this.#sealingKey = derive("seal");
  }

  /** Under which Redis keeps what is known of a key; says nothing of it. */
  nameOf(keyHash: string): string {
    return PREFIX + createHmac("sha256", this.#namingKey).update(keyHash).digest("hex");
  }

  /** Undefined where it would have more than {@link MOST_SEALED_BYTES}. */
  seal(name: string, finding: Finding): Buffer | undefined {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#sealingKey, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(name));
    const sealed = Buffer.concat([cipher.update(JSON.stringify(finding), "utf8"), cipher.final()]);
    const whole = Buffer.concat([iv, cipher.getAuthTag(), sealed]);
    return whole.length > MOST_SEALED_BYTES ? undefined : whole;
  }

  /** What was sealed under this name; undefined for everything else. */
  open(name: string, sealed: Buffer): Finding | undefined {
    if (sealed.length <= IV_BYTES + TAG_BYTES || sealed.length > MOST_SEALED_BYTES) return undefined;
    const [iv, tag] = [sealed.subarray(0, IV_BYTES), sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES)];
    try {
      const decipher = createDecipheriv("aes-256-gcm", this.#sealingKey, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(name));
      decipher.setAuthTag(tag);
      const text = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8");
      return findingSchema.safeParse(JSON.parse(text)).data;
    } catch {
      return undefined;
    }
  }
}
