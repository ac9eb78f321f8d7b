import { describe, expect, it } from "vitest";
import {
  deleteKeysRequestSchema,
  durationPattern,
  generateKeyRequestSchema,
  keyAliasPattern,
  keyListQuerySchema,
  managementErrorSchema,
} from "./key-management.ts";
import { createSessionRequestSchema } from "./session.ts";

describe("key management", () => {
  it("passes fields through that it does not know and reads amounts as exact text", () => {
    const parsed = generateKeyRequestSchema.parse({ team_id: "org-1", max_budget: 0.1, tags: ["a"], tpd_limit: 1 });

    expect(parsed).toEqual({ team_id: "org-1", max_budget: "0.1", tags: ["a"], tpd_limit: 1 });
    expect(generateKeyRequestSchema.parse({ max_budget: 1e-7 }).max_budget).toBe("0.0000001");
    expect(generateKeyRequestSchema.parse({ max_budget: "2.50" }).max_budget).toBe("2.5");
    expect(generateKeyRequestSchema.parse({ max_budget: null }).max_budget).toBeNull();
  });

  it.each([{ max_budget: -1 }, { max_budget: "1e3" }, { models: "all" }, { duration: 24 }, { metadata: [] }])(
    "refuses wrong types: %j",
    (body) => {
      expect(generateKeyRequestSchema.safeParse(body).success).toBe(false);
    },
  );

  it("wants keys or aliases to delete", () => {
    expect(deleteKeysRequestSchema.safeParse({}).success).toBe(false);
    expect(deleteKeysRequestSchema.safeParse({ keys: null }).success).toBe(false);
    expect(deleteKeysRequestSchema.safeParse({ key_aliases: ["a"] }).success).toBe(true);
  });

  it("reads paging from text", () => {
    expect(keyListQuerySchema.parse({})).toEqual({ page: 1, size: 10, return_full_object: false });
    expect(keyListQuerySchema.parse({ page: "2", size: "100", return_full_object: "true" })).toEqual({
      page: 2,
      size: 100,
      return_full_object: true,
    });
    expect(keyListQuerySchema.safeParse({ size: "101" }).success).toBe(false);
  });

  it("knows both error envelopes and no other", () => {
    expect(managementErrorSchema.safeParse({ error: { message: "m", type: "t", param: "None", code: "404" } }).success).toBe(true);
    expect(managementErrorSchema.safeParse({ detail: [] }).success).toBe(true);
    for (const body of [{}, { error: "text" }, "text", null]) expect(managementErrorSchema.safeParse(body).success).toBe(false);
  });

  it("knows LiteLLM's aliases and durations", () => {
    for (const alias of ["a", "ab", "a/b@c.d-e_f", "a".repeat(255)]) expect(alias).toMatch(keyAliasPattern);
    for (const alias of ["", "-", "-ab", "ab/", "a:b", "a".repeat(256), "ab\n"]) expect(alias).not.toMatch(keyAliasPattern);
    expect("30min").not.toMatch(durationPattern);
    expect("1mo").toMatch(durationPattern);
  });
});

describe("a session request", () => {
  it("reads a budget as exact text and refuses unknown fields and ids that cannot stand in a path", () => {
    expect(createSessionRequestSchema.parse({ org_id: "org-1", max_budget_usd: "2.50" }).max_budget_usd).toBe("2.5");
    expect(createSessionRequestSchema.parse({ org_id: "org-1", max_budget_usd: 0.1 }).max_budget_usd).toBe("0.1");
    for (const body of [
      {},
      { org_id: "a/b" },
      { org_id: "org-1", max_budget: 1 },
      { org_id: "org-1", duration: "30min" },
      { org_id: "org-1", max_budget_usd: -1 },
    ]) {
      expect(createSessionRequestSchema.safeParse(body).success).toBe(false);
    }
  });
});
