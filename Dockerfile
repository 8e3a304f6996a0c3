# syntax=docker/dockerfile:1
# outboxd in an image without a shell: the binary, glibc and the certificates, as a user without rights.
# How to run it: docs/install.md. There is no published image yet; `docker build -t outboxd .` makes yours, for the
# architecture that this runs on. packaging/docker/test.sh builds and tests it without a registry of images.

ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG PROFILE=release
WORKDIR /src
# The dependencies, in a layer of their own: they are compiled again only when Cargo.toml or Cargo.lock change.
# .cargo says how SQLite is built.
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
RUN mkdir -p src benches migrations \
 && echo 'fn main() {}' | tee src/main.rs benches/throughput.rs benches/forecast.rs benches/torture.rs benches/month.rs >src/lib.rs \
 && cargo build --locked --profile "$PROFILE" --bin outboxd
COPY . .
RUN touch build.rs src/main.rs src/lib.rs \
 && cargo build --locked --profile "$PROFILE" --bin outboxd \
 && cp target/*/outboxd /outboxd \
 && strip /outboxd
# Folders that the user of the image may write to; there is no mkdir in the second stage.
RUN mkdir -p /folders/state /folders/run

FROM ${RUN_IMAGE}
COPY --from=build /outboxd /usr/local/bin/outboxd
COPY --from=build --chown=65532:65532 /folders/state /var/lib/outboxd
COPY --from=build --chown=65532:65532 /folders/run /run/outboxd

# The key comes at run time: OUTBOXD_UNIPILE_API_KEY_FILE with a secret, or OUTBOXD_UNIPILE_API_KEY.
ENV OUTBOXD_STORE_PATH=/var/lib/outboxd/outboxd.db \
    OUTBOXD_API_SOCKET=/run/outboxd/outboxd.sock

# The queue outlives the container, so it must not lie in it. A local disk: SQLite's locks do not hold on a network share.
# outboxd writes nowhere but here and to its socket: the root may be read-only.
VOLUME ["/var/lib/outboxd"]

USER 65532:65532
# Docker sends SIGKILL after 10 s unless it is set: run with --stop-timeout 45, above engine.shutdown_grace.
STOPSIGNAL SIGTERM
# Exits with 7 or 8 when /readyz answers 503, and with 3 when the daemon does not answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/outboxd", "status"]
ENTRYPOINT ["/usr/local/bin/outboxd"]
CMD ["serve"]
