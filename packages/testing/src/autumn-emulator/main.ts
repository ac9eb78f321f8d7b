import { normalizeDecimal } from "@proliferate/shared/money";
import { startAutumnEmulator } from "./server.ts";

/**
 * The emulator as a process of the development stack. Variables: AUTUMN_EMULATOR_PORT (default: any free one),
 * AUTUMN_EMULATOR_SECRET_KEY (default: any key that begins with am_ is taken), AUTUMN_EMULATOR_STATE_FILE (default: nothing is kept) and
 * AUTUMN_EMULATOR_CUSTOMERS (`org_a=10000,org_b=50`: credits that a customer is granted once, when it is new) and
 * AUTUMN_EMULATOR_NEW_CUSTOMER_CREDITS (what any other is granted when it is first asked for; default: there is none such).
 * Reports `{type: "ready", ports: {autumn}}` over IPC, as our own processes do, and ends with its parent.
 */
const {
  AUTUMN_EMULATOR_PORT: port = "0",
  AUTUMN_EMULATOR_SECRET_KEY: secretKey,
  AUTUMN_EMULATOR_STATE_FILE: stateFile,
  AUTUMN_EMULATOR_CUSTOMERS: customers = "",
  AUTUMN_EMULATOR_NEW_CUSTOMER_CREDITS: newCustomerCredits,
} = process.env;

try {
  const emulator = await startAutumnEmulator({
    port: Number(port),
    ...(secretKey && { secretKey }),
    ...(stateFile && { stateFile }),
    ...(newCustomerCredits && { newCustomerCredits }),
  });
  for (const entry of customers.split(",").filter(Boolean)) {
    const [customerId = "", credits = ""] = entry.split("=").map((part) => part.trim());
    if (emulator.remaining(customerId) === undefined)
      emulator.grantPlan(customerId, { planId: "default", granted: normalizeDecimal(credits) });
  }
  const exit = (): void => void emulator.stop().then(() => process.exit(0));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, exit);
  if (process.channel) process.on("disconnect", exit);
  process.stderr.write(`autumn emulator: ${emulator.url}\n`);
  process.send?.({ type: "ready", ports: { autumn: emulator.port } });
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  process.stderr.write(`autumn emulator: ${message}\n`);
  const failed = { type: "failed", code: code === "EADDRINUSE" ? "port_in_use" : "internal_error", message };
  if (process.send) process.send(failed, () => process.exit(1));
  else process.exit(1);
}
