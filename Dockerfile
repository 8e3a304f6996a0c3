# syntax=docker/dockerfile:1
# outboxd in an image without a shell: the binary, glibc and the certificates, as a user without rights.
# How to run it: docs/install.md. There is no published image yet, and no build for another architecture than the one
# this runs on; `docker build -t outboxd .` makes yours.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/outboxd /outboxd
# Folders that the user of the image may write to; there is no mkdir in the second stage.
RUN mkdir -p /folders/state /folders/run

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /outboxd /usr/local/bin/outboxd
COPY --from=build --chown=65532:65532 /folders/state /var/lib/outboxd
COPY --from=build --chown=65532:65532 /folders/run /run/outboxd

# The key comes at run time: OUTBOXD_UNIPILE_API_KEY_FILE with a secret, or OUTBOXD_UNIPILE_API_KEY.
ENV OUTBOXD_STORE_PATH=/var/lib/outboxd/outboxd.db \
    OUTBOXD_API_SOCKET=/run/outboxd/outboxd.sock

# The queue outlives the container, so it must not lie in it. A local disk: SQLite's locks do not hold on a network share.
VOLUME ["/var/lib/outboxd"]

USER 65532:65532
# Docker sends SIGKILL after 10 s by itself: run with --stop-timeout 45, above engine.shutdown_grace.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/local/bin/outboxd", "status"]
ENTRYPOINT ["/usr/local/bin/outboxd"]
CMD ["serve"]
