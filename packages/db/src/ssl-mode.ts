/**
 * The connection string with its `sslmode` as the driver means it: `prefer`, `require` and `verify-ca` are `verify-full`
 * (encrypted, certificate and name checked), said so that it does not warn of each. `no-verify` and `disable` stay, and with
 * `uselibpqcompat=true` all are as libpq has them.
 */
export function plainSslMode(connectionString: string): string {
  if (/[?&]uselibpqcompat=true(&|$)/.test(connectionString)) return connectionString;
  return connectionString.replace(/([?&]sslmode=)(prefer|require|verify-ca)(?=&|$)/, "$1verify-full");
}
