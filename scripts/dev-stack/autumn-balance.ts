import { normalizeDecimal } from "@proliferate/shared/money";
import type { Stack } from "./stack.ts";
