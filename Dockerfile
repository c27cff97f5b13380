# syntax=docker/dockerfile:1
# Debian 13, whose Python is 3.13. Pin its digest in your own builds: --build-arg BASE_IMAGE=debian@sha256:...
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libcap2-bin python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /build/requirements.lock
# Behind a proxy with an authority of its own, the secret `ca` is what pip trusts.
RUN --mount=type=secret,id=ca,target=/run/secrets/ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python3 -m venv --copies --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /build/requirements.lock \
    && find /opt/venv/lib -type d \( -name tests -o -path '*/twisted/*/test' -o -path '*/twisted/test' \) -prune -exec rm -rf {} + \
    && find /opt/venv/lib -type d -path '*/locale/*' ! -name en ! -path '*/locale/en/*' -prune -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib
# A second copy of the interpreter may open ports below 1024; deploy/start says why it is a second one.
# hadolint ignore=DL3059
RUN cp /opt/venv/bin/python /opt/venv/bin/python-low-ports \
    && setcap cap_net_bind_service=+ep /opt/venv/bin/python-low-ports

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stigg sidecar" \
      org.opencontainers.image.description="An open, self-hosted sidecar for Stigg: entitlement checks over gRPC that stay up when the cloud does not." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65532 -g 65532 -m 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py LICENSE ./
COPY deploy/start deploy/start
COPY entitlements entitlements
COPY grpc_service grpc_service
COPY http_service http_service
COPY sidecar_project sidecar_project
RUN /opt/venv/bin/python -m compileall -q entitlements grpc_service http_service sidecar_project
ENV SIDECAR_DATA_DIR=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
# Nothing else is written to, but /tmp when `--workers` is used.
VOLUME /data
# gRPC, HTTP (health, metrics, admin), gRPC over TLS
EXPOSE 80 8080 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/opt/venv/bin/python", "manage.py", "probe", "ready"]
ENTRYPOINT ["/app/deploy/start"]
CMD ["runsidecar"]
