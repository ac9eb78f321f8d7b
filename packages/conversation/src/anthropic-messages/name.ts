/** The dialect's name, and the origin of its signatures. */
export const ANTHROPIC_MESSAGES = "anthropic-messages";
