export { ENGINES, ENGINE_FEATURES, type Engine, type EngineDemand, requireEngineFeatures } from "./engines.ts";
