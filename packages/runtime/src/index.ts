export { Lifecycle, type Stoppable } from "./lifecycle.ts";
export { listen, type Listener, type ListenOptions } from "./listen.ts";
export { type Leader, type LoopClock, type LoopOptions, LoopTimeout, startLoop } from "./loop.ts";
export { createLogger, type Logger } from "./logger.ts";
export {
  Counter,
  createMetricsPage,
  Gauge,
  Histogram,
  Registry,
  type MetricFamily,
  type MetricSample,
  type MetricsPage,
  type MetricSource,
} from "./metrics.ts";
export { isObserver, OBSERVER_ENVIRONMENT, type ObserverRequest } from "./observer.ts";
export { type FailedMessage, type ReadyMessage, runProcess } from "./run-process.ts";
export { fitText, mark, PLAIN_SURFACE, surfaceOf, type TextSurface } from "./terminal-text.ts";
export { redactSecrets } from "./redact-secrets.ts";
export { type RequestHandler, type RequestTarget, requestTarget, safeListener, withoutTrailingSlashes } from "./safe-listener.ts";
