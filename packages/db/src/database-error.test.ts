import { expect, test } from "vitest";
import {
  isDatabaseUnavailable,
  isForbidden,
  isLoginRefused,
  isPermanentError,
  isSchemaTooOld,
  isTableMissing,
  isUniqueViolation,
} from "./database-error.ts";

const failed = (code: string): Error => Object.assign(new Error("failed"), { code });

test.each([
  ["08006", ["unavailable"]],
  ["57P01", ["unavailable"]],
  ["25006", ["unavailable"]],
  ["57014", ["unavailable"]],
  ["ECONNREFUSED", ["unavailable"]],
  ["22003", ["permanent"]],
  ["23505", ["permanent", "unique"]],
  ["54000", ["permanent"]],
  ["28P01", ["login"]],
  ["3D000", ["login"]],
  ["42P01", ["table", "schema"]],
  ["42703", ["schema"]],
  ["42501", ["forbidden"]],
  ["40001", []],
])("what %s says: %j", (code, answers) => {
  const questions = {
    unavailable: isDatabaseUnavailable,
    permanent: isPermanentError,
    unique: isUniqueViolation,
    login: isLoginRefused,
    table: isTableMissing,
    schema: isSchemaTooOld,
    forbidden: isForbidden,
  };
  expect(Object.entries(questions).flatMap(([name, ask]) => (ask(failed(code)) ? [name] : []))).toEqual(answers);
  // What is no error answers no question, whatever it carries.
  expect(Object.values(questions).some((ask) => ask({ code }))).toBe(false);
});
