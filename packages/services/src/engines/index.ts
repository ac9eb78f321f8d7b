export { type Engine, ENGINE_FEATURES, type EngineDemand, ENGINES, requireEngineFeatures } from "./engines.ts";
