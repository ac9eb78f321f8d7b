# Gateway, worker and migrations in one image; docker-compose.yml says which one runs. The proxy has its own Dockerfile.
FROM node:24.21.0-slim

WORKDIR /app
RUN npm install --global pnpm@12.21.0

COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
COPY apps ./apps
COPY packages ./packages
COPY scripts ./scripts
# Without optional packages: they hold the embedded PostgreSQL and Node, which this image does not need.
RUN pnpm install --frozen-lockfile --prod --no-optional

# Of the proxy's spool (STORE_SPOOL_DIR): a volume that is mounted here is this user's.
RUN mkdir -p /var/lib/llm-gateway/spool && chown -R node:node /var/lib/llm-gateway

ENV NODE_ENV=production
USER node
