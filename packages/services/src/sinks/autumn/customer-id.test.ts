import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { customerIdForOrg, orgIdFromCustomerId } from "./customer-id.ts";

describe("an org's customer id (pitfall 28: illegal characters)", () => {
  it("is the org id itself where Autumn allows it", () => {
    for (const orgId of ["org_1", "5f3e-11", "A:b_C-9"]) expect(customerIdForOrg(orgId)).toBe(orgId);
  });

  it("is spelled in Autumn's alphabet otherwise, readable and the same each time", () => {
    expect(customerIdForOrg("acme.io")).toBe("enc:acme_2Eio");
    expect(customerIdForOrg("a@b c_d")).toBe("enc:a_40b_20c_5Fd");
    expect(customerIdForOrg("enc:acme_2Eio")).toBe("enc:enc:acme_5F2Eio");
  });

  it("is legal, reverses, and is shared by no two orgs", () => {
    const orgId = fc.string({ minLength: 1, unit: "grapheme" });
    fc.assert(
      fc.property(
        orgId,
        fc.oneof(
          orgId,
          fc.constant("x").map((text) => customerIdForOrg(text)),
        ),
        (first, second) => {
          expect(customerIdForOrg(first)).toMatch(/^[A-Za-z0-9_:-]+$/);
          expect(orgIdFromCustomerId(customerIdForOrg(first))).toBe(first);
          const encodedTwice = customerIdForOrg(customerIdForOrg(first));
          expect(orgIdFromCustomerId(orgIdFromCustomerId(encodedTwice))).toBe(first);
          expect(customerIdForOrg(first) === customerIdForOrg(second)).toBe(first === second);
        },
      ),
    );
  });
});
