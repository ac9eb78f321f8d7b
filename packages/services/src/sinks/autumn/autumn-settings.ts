/** People paste values with a trailing `# comment`, quotes and blanks. */
function cleanValue(text: string): string {
  return text
    .replace(/\s+#.*$/s, "")
    .trim()
    .replace(/^(["'])(.*)\1$/s, "$2")
    .trim();
}

/** The bare secret key: no comment, quotes or `Bearer ` prefix. */
export function cleanAutumnSecretKey(text: string): string {
  return cleanValue(cleanValue(text).replace(/^Bearer\s+/i, ""));
}

/** The server's root: no comment, no trailing slashes, no `/v1` (the library adds it). */
export function cleanAutumnUrl(text: string): string {
  return cleanValue(text).replace(/\/+$/, "").replace(/\/v1$/, "").replace(/\/+$/, "");
}
