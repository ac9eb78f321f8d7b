import type { DatabaseClient } from "@proliferate/db";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { currentHashOf, hashKey, mintKey, regenerateKey, revokeKeys } from "../../src/keys/index.ts";
import { deleteLimit, LimitedKeys, upsertLimit } from "../../src/limits/index.ts";
import type { PrincipalKind } from "../../src/principals/index.ts";
import {
  admitAttempt,
  type AdmittedAttempt,
  type AttemptOutcome,
  type AttemptRow,
  checkpointAttempts,
  INSTANCE_LOCK_CLASS,
  listAttempts,
  listInstancesWithAttempts,
  readCheckpoint,
  settleAttempt,
  withDeadInstance,
} from "../../src/requests/index.ts";
import { insertTeam } from "../../src/teams/index.ts";
import { outcomeOf, requestOf } from "../test-requests.ts";
import type { LimitPlan, Operation, Seat } from "./commands.ts";
import { REQUEST_ID_PREFIX, unitsOf } from "./facts.ts";
import type { LimitModel } from "./model.ts";
import { isBudget } from "./rules.ts";

/** A key of a seat, by its id, and its secrets that may be usable, the newest first. */
interface HeldKey {
  readonly hash: string;
  readonly secrets: string[];
}

/** What both proxies share: who has which keys, oldest first, and how many requests and keys there were. */
export interface World {
  readonly seats: readonly Seat[];
  readonly keys: HeldKey[][];
  requests: number;
  minted: number;
}

const usd = (thousandths: number): string => (thousandths / 1_000).toFixed(3);

/** What one proxy does, by the product's own functions, on the connections of its simulated process. */
export class ProxyOperations {
  readonly lockClass = INSTANCE_LOCK_CLASS;
  readonly #db: DatabaseClient;
  readonly #instanceId: number;
  readonly #world: World;
  readonly #model: LimitModel;
  readonly #limitedKeys = new LimitedKeys();
  /** Requests that it forwards. */
  readonly #attempts: AdmittedAttempt[] = [];

  constructor(
    db: DatabaseClient,
    { instanceId, world, model }: { readonly instanceId: number; readonly world: World; readonly model: LimitModel },
  ) {
    this.#db = db;
    this.#instanceId = instanceId;
    this.#world = world;
    this.#model = model;
  }

  /** Two teams, a key for each seat, and the limits that are set from the start; `db` begins nothing later. */
  static async prepare(db: DatabaseClient, seats: readonly Seat[], limits: readonly LimitPlan[]): Promise<World> {
    const world: World = { seats, keys: seats.map(() => []), requests: 0, minted: 0 };
    const none = {
      teamAlias: null,
      maxBudgetUsd: null,
      budgetDuration: null,
      budgetResetAt: null,
      models: [],
      metadata: {},
      blocked: false,
    };
    for (const teamId of ["org_a", "org_b"]) await insertTeam(db, { ...none, teamId, createdBy: "admin" });
    for (const seat of seats.keys()) await mint(db, world, seat);
    for (const limit of limits) await edit(db, world, limit, false);
    return world;
  }

  /** Rejects only with what no proxy expects. */
  start(operation: Operation): Promise<unknown> {
    switch (operation.kind) {
      case "admit":
        return this.#admit(operation);
      case "checkpoint":
        return this.#checkpoint(operation);
      case "settle":
        return this.#settle(operation);
      case "edit":
        return ignoringCuts(edit(this.#db, this.#world, operation.limit, operation.isTakenAway));
      case "mint":
        return ignoringCuts(this.#mint(operation.seat));
      case "delete":
        return ignoringCuts(this.#delete(operation.seat));
      case "regenerate":
        return ignoringCuts(this.#regenerate(operation));
      case "recover":
        return ignoringCuts(this.#recover());
    }
  }

  async #admit({ seat, model, least, input, output }: Operation & { readonly kind: "admit" }): Promise<void> {
    const holder = this.#world.seats[seat];
    // One request after the other by each of the keys that live.
    const live = this.#world.keys[seat] ?? [];
    const key = live[this.#world.requests % Math.max(1, live.length)];
    // One request after the other by each of its secrets.
    const secret = key?.secrets[this.#world.requests % Math.max(1, key.secrets.length)];
    if (!key || secret === undefined || !holder) return;
    const shownHash = hashKey(secret);
    this.#world.requests += 1;
    const attemptId = `${REQUEST_ID_PREFIX}${String(this.#world.requests).padStart(12, "0")}`;
    const [leastUnits, inputUnits] = [BigInt(least), BigInt(input)];
    const admission = this.#model.begin(
      attemptId,
      { keyHash: key.hash, shownHash, ...holder },
      {
        model,
        least: { usd: leastUnits, tokens: inputUnits, requests: 1n, parallel: 1n },
        most: { usd: leastUnits + BigInt(output), tokens: inputUnits + BigInt(output), requests: 1n, parallel: 1n },
      },
    );
    const asked = { minimumUsd: usd(least), worstCaseUsd: usd(least + output), inputTokens: input, outputTokens: output };
    try {
      const request = await requestOf(this.#db, shownHash, { attemptId, model, instanceId: this.#instanceId, ...asked });
      this.#attempts.push(await admitAttempt(this.#db, { ...request, limitedKeys: this.#limitedKeys }));
      this.#model.end(admission);
    } catch (error) {
      // One whose answer was lost may be on record all the same: it is settled when its proxy has died.
      if (isCut(error)) return;
      const { code } = error as { code?: unknown };
      if (typeof code !== "string" || /^[0-9A-Z]{5}$/.test(code)) throw error;
      this.#model.refuse(admission, code);
    }
  }

  async #checkpoint({ roll, output }: Operation & { readonly kind: "checkpoint" }): Promise<void> {
    const attempt = this.#attempts[Math.floor((roll * this.#attempts.length) / 1_000)];
    if (!attempt) return;
    const checkpoint = { usage: { outputTokens: output }, providerResponseId: null, firstByteAt: null };
    await ignoringCuts(checkpointAttempts(this.#db, [{ attemptId: attempt.attempt_id, checkpoint }]));
  }

  async #settle({ roll, output, how }: Operation & { readonly kind: "settle" }): Promise<void> {
    const [attempt] = this.#attempts.splice(Math.floor((roll * this.#attempts.length) / 1_000), 1);
    if (!attempt) return;
    try {
      await settleAttempt(this.#db, attempt, outcomeAt(attempt, how, output));
    } catch (error) {
      if (!isCut(error)) throw error;
      // As the proxy does it: again, until the store has taken it.
      this.#attempts.push(attempt);
    }
  }

  async #mint(seat: number): Promise<void> {
    if ((this.#world.keys[seat]?.length ?? 0) < 2) await mint(this.#db, this.#world, seat);
  }

  async #delete(seat: number): Promise<void> {
    const live = this.#world.keys[seat] ?? [];
    if (live.length < 2) return;
    const doomed = live.shift();
    if (doomed) await revokeKeys(this.#db, [doomed.hash], []);
  }

  async #regenerate({ seat, hasGrace }: Operation & { readonly kind: "regenerate" }): Promise<void> {
    const key = this.#world.keys[seat]?.at(-1);
    if (!key) return;
    this.#world.minted += 1;
    const newKey = `sk-of-the-limit-model-${this.#world.minted}`;
    // Known before it is there: whoever is told the answer may be cut off, and the key has it all the same.
    key.secrets.unshift(newKey);
    key.secrets.splice(3);
    await regenerateKey(this.#db, key.hash, { fields: {}, newKey, grace: hasGrace ? "2 hours" : null }).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== "key_not_found") throw error;
    });
  }

  /** As the proxy's upkeep does it. */
  async #recover(): Promise<void> {
    for (const instanceId of await listInstancesWithAttempts(this.#db, this.#instanceId))
      await withDeadInstance(this.#db, instanceId, async () => {
        for (const attempt of await listAttempts(this.#db, instanceId, undefined, 200))
          await settleAttempt(this.#db, attempt, {
            ...outcomeAt(attempt, "failed", checkpointed(attempt)),
            recovered: true,
            estimated: true,
          });
      });
  }
}

/** Of a request that may make `max_output_tokens`: what it cost, in the plan's prices. */
function outcomeAt(attempt: AdmittedAttempt, how: "whole" | "void" | "failed", output: number): AttemptOutcome {
  const most = attempt.max_output_tokens ?? 0;
  const made = Math.min(output, most);
  // By the clock of the plan.
  const endedAt = attempt.started_at;
  if (how === "void") return outcomeOf("0", { status: "failure", report: reportOf(NO_USAGE), endedAt });
  return outcomeOf(usd(Number(unitsOf("usd", attempt.reserved_usd)) - most + made), {
    status: how === "whole" ? "success" : "failure",
    report: reportOf({ ...NO_USAGE, inputTokens: attempt.estimated_input_tokens, outputTokens: made }),
    endedAt,
  });
}

const checkpointed = (attempt: AttemptRow): number => readCheckpoint(attempt.checkpoint)?.report.parts[0]?.usage.outputTokens ?? 0;

async function mint(db: DatabaseClient, world: World, seat: number): Promise<void> {
  const { userId, teamId } = world.seats[seat] ?? {};
  world.minted += 1;
  const { key, row } = await mintKey(
    db,
    { userId: userId ?? null, teamId: teamId ?? null },
    { chosenKey: `sk-of-the-limit-model-${world.minted}` },
  );
  world.keys[seat]?.push({ hash: row.token, secrets: [key] });
}

async function edit(db: DatabaseClient, { keys }: World, plan: LimitPlan, isTakenAway: boolean): Promise<void> {
  const [kind = "", ...named] = plan.principal.split(" ");
  const id = kind === "key" ? (keys[Number(named.at(-1))]?.at(-1)?.hash ?? "") : named.join(" ");
  const amount = plan.meter === "usd" ? usd(plan.amount) : String(plan.amount);
  if (isBudget({ ...plan, kind, id })) {
    const set = { max_budget: isTakenAway ? null : amount };
    if (kind === "key") await db.updateTable("LiteLLM_VerificationToken").set(set).where("token", "=", currentHashOf(id)).execute();
    else await db.updateTable("LiteLLM_TeamTable").set(set).where("team_id", "=", id).execute();
    return;
  }
  const limit = { principal: { kind: kind as PrincipalKind, id }, meter: plan.meter, window: plan.window, model: plan.model };
  if (isTakenAway) await deleteLimit(db, limit);
  else await upsertLimit(db, { ...limit, amount, enforce: plan.enforce });
}

const isCut = (error: unknown): boolean => (error as { code?: unknown }).code === "08006";

async function ignoringCuts(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isCut(error)) throw error;
  });
}
