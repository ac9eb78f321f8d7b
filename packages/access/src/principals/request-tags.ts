/** Tags of one request, and characters of each: what callers send is cut to it. */
const MOST_TAGS = 64;
const MOST_TAG_CHARACTERS = 256;

/** Tags as the metadata of a key and of its team have them; perhaps no lists at all. */
interface TagOwner {
  readonly tags: unknown;
  readonly teamTags: unknown;
}

/**
 * The `request_tags` of a request's spend row, each once: what the caller sent (`x-litellm-tags: a, b`), then its key's, then its team's, as
 * LiteLLM puts them together; of more than 64, the key's and team's go before those that the caller sent.
 */
export function requestTags({ tags, teamTags }: TagOwner, header: string | undefined): readonly string[] {
  const given = [...listOf(tags), ...listOf(teamTags)].slice(0, MOST_TAGS);
  const sent = listOf(header?.split(",").map((tag) => tag.trim())).filter((tag) => !given.includes(tag));
  return [...new Set([...sent.slice(0, MOST_TAGS - given.length), ...given])];
}

function listOf(value: unknown): readonly string[] {
  if (!Array.isArray(value)) return [];
  return value
    .filter((tag): tag is string => typeof tag === "string" && tag !== "")
    .map((tag) => tag.replaceAll("\u0000", "").slice(0, MOST_TAG_CHARACTERS));
}
