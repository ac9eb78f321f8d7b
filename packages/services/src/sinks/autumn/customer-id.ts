const LEGAL_ID = /^[A-Za-z0-9_:-]+$/;
const PLAIN_BYTE = /^[A-Za-z0-9:-]$/;
const PREFIX = "enc:";

/**
 * The customer id under which Autumn knows an org. An id of Autumn's alphabet (letters, digits, `_`, `:`, `-`) is used as
 * it is; any other is spelled in that alphabet: `enc:`, then each other byte as `_` and two hex digits (`acme.io` →
 * `enc:acme_2Eio`). Two orgs never share a customer id, and {@link orgIdFromCustomerId} is its inverse.
 */
export function customerIdForOrg(orgId: string): string {
  if (LEGAL_ID.test(orgId) && !orgId.startsWith(PREFIX)) return orgId;
  return PREFIX + Array.from(Buffer.from(orgId, "utf8"), spellByte).join("");
}

function spellByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return PLAIN_BYTE.test(character) ? character : `_${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** The org behind a customer id that {@link customerIdForOrg} made. */
export function orgIdFromCustomerId(customerId: string): string {
  if (!customerId.startsWith(PREFIX)) return customerId;
  const binary = customerId
    .slice(PREFIX.length)
    .replaceAll(/_([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(binary, "latin1").toString("utf8");
}
