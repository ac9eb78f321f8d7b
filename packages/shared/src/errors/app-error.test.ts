import { describe, expect, it } from "vitest";
import { AppError, isAppError } from "./app-error.ts";
import { ERROR_CODES, type ErrorCode } from "./codes.ts";

const rows = Object.entries(ERROR_CODES) as [ErrorCode, (typeof ERROR_CODES)[ErrorCode]][];

describe("AppError", () => {
  it("takes status, retryability and fix from the row of its code", () => {
    const error = new AppError("budget_exceeded", "The budget of key abc is spent.", {
      cause: "x",
      param: "model",
      retryAfterSeconds: 1,
      details: { key: "abc" },
    });

    expect(error).toMatchObject({
      name: "AppError",
      status: 402,
      retryable: false,
      fix: ERROR_CODES.budget_exceeded.fix,
      cause: "x",
      param: "model",
      retryAfterSeconds: 1,
      details: { key: "abc" },
    });
  });

  it("is recognised by name, also when the package is installed twice", () => {
    const twin = Object.assign(new Error("from the other copy"), { name: "AppError", code: "not_found" });

    expect([
      isAppError(twin),
      isAppError(twin, "not_found"),
      isAppError(twin, "internal_error"),
      isAppError(new Error("plain")),
      isAppError("text"),
    ]).toEqual([true, true, false, false, false]);
  });
});

describe("the table of codes", () => {
  it.each(rows)("%s has a status that HTTP knows, or 0, and says what to do", (code, row) => {
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(row.status === 0 || (row.status >= 400 && row.status < 600)).toBe(true);
    expect(row.fix).toMatch(/^[A-Z].{10,}\.$/);
  });

  it("never answers a matter of money with 429 that lasts, nor a refused key with anything but 401", () => {
    expect(ERROR_CODES.budget_exceeded).toMatchObject({ status: 402, retryable: false });
    for (const code of ["missing_api_key", "invalid_api_key", "expired_api_key", "blocked_api_key"] as const)
      expect(ERROR_CODES[code]).toMatchObject({ status: 401, retryable: false });
  });

  it("marks 429 and 5xx as retryable, but for what a repetition would not change, and of the rest only what passes by itself", () => {
    // The operator has to set something right, or the same request has the same answer.
    const wouldBeTheSame =
      /^(provider_key_|sandbox_refused$|sandbox_provider_unauthorized$|provider_stream_missing$|provider_answer_too_large$|limit_exceeded$|not_implemented$)/;
    // The caller's own other call ends, or its next upload does not pause.
    const passesByItself = ["session_not_ready", "idempotency_in_progress", "upload_timeout"];
    const isRetryable = (code: string, status: number): boolean => status === 429 || status >= 500 || passesByItself.includes(code);
    const wrong = rows.filter(
      ([code, { status, retryable }]) => status !== 0 && retryable !== isRetryable(code, status) && !wouldBeTheSame.test(code),
    );

    expect(wrong).toEqual([]);
  });
});
