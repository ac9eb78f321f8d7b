/**
 * Every form of credential that we make or hold. A key begins a word, also after an escape such as `\n` in a line that is JSON
 * already. What has no form of its own (a gateway token, a webhook's secret) is known by what stands before it.
 */
const WORD_START = String.raw`(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))`;

const KEYS = [
  // Virtual keys, master keys, OpenAI (sk-proj-…), Anthropic (sk-ant-…).
  String.raw`sk-[A-Za-z0-9_-]{6,}`,
  // Our service tokens and hub tokens.
  String.raw`(?:gwt|hbk)_[A-Za-z0-9_-]{6,}`,
  // Autumn, Stripe, and what signs their webhooks.
  String.raw`am_(?:sk|pk|live|test)_[A-Za-z0-9_-]{6,}`,
  String.raw`[sr]k_(?:live|test)_[A-Za-z0-9]{6,}`,
  String.raw`whsec_[A-Za-z0-9+/=_-]{6,}`,
  // Modal's token and its secret.
  String.raw`a[ks]-[A-Za-z0-9]{16,}`,
  // Google, GitHub, GitLab, AWS: of providers and of clones.
  String.raw`AIza[A-Za-z0-9_-]{20,}`,
  String.raw`gh[pousr]_[A-Za-z0-9]{16,}`,
  String.raw`github_pat_[A-Za-z0-9_]{16,}`,
  String.raw`glpat-[A-Za-z0-9_-]{16,}`,
  String.raw`A(?:KIA|SIA)[A-Z0-9]{16}`,
].map((form) => `${WORD_START}${form}`);

/** Without a boundary before them, for the same reason; each is bounded, so that no text takes long. */
const PLACES = [
  // `Authorization: Bearer …` and `Basic …`; the word goes with it.
  String.raw`(?:Bearer|Basic)\s{1,8}[A-Za-z0-9._~+/=-]{8,}`,
  // User and password of a URL. A database's password often has unescaped signs in it; it ends at the last @.
  String.raw`(?:postgres(?:ql)?|rediss?|mysql):\/\/[^\s"'\\]{0,1024}@`,
  String.raw`[a-z][a-z0-9+.-]{1,15}:\/\/[^\s"'/?#@\\]{0,1024}@`,
];

const SECRET = new RegExp([...KEYS, ...PLACES].join("|"), "gi");
/** NAME_KEY=…, "client_secret": "…", ?token=…, x-api-key: …; also where the text is JSON within JSON. */
const NAMED =
  /((?:api[_-]?key|secret|token|password|passwd|master[_-]key)[\\"']{0,8}\s{0,4}[=:]\s{0,4}[\\"']{0,8})[^\s"'&,;\\{}[\]()]{8,}/gi;

/** Replaces keys, bearer tokens and the passwords of URLs by `[redacted]`. For text that goes to a log, a file or a caller. */
export function redactSecrets(text: string): string {
  return text.replace(SECRET, "[redacted]").replace(NAMED, "$1[redacted]");
}
