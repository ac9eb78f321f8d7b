/** The dialect's name, and the origin of its signatures. */
export const GEMINI = "gemini";
