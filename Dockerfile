# syntax=docker/dockerfile:1

# Builds rowgate, and packs it with nothing but the C library and the roots of trust it needs.
# The image serves by default:
#
#   docker run -p 8080:8080 -e ROWGATE_ISSUER_URL=… -v ./secrets:/run/secrets:ro \
#     -e DATABASE_AUTHENTICATED_URL_FILE=/run/secrets/database_authenticated_url … rowgate

FROM rust:1-slim-bookworm AS build
WORKDIR /src
# aws-lc (cryptography) and libpg_query (PostgreSQL's parser) are compiled from C; the compiler is in the
# base image already for most architectures, and this line is then quick.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libclang-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# The caches outlive the build, so that the next one compiles only what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin rowgate \
    && install -D target/release/rowgate /out/rowgate

FROM debian:bookworm-slim
# Roots of trust for issuers' key sets and for sslrootcert=system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rowgate \
    && install -d -o rowgate -g rowgate -m 0700 /var/lib/rowgate
COPY --from=build /out/rowgate /usr/local/bin/rowgate
USER rowgate
WORKDIR /app
# Inside a container the outside is another machine.
ENV ROWGATE_SERVER_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Alive, not ready: a database that is away is no reason to restart the gateway.
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s --retries=3 \
    CMD ["rowgate", "check", "--live", "http://127.0.0.1:8080/health/live"]
ENTRYPOINT ["rowgate"]
CMD ["serve"]
