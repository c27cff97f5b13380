# syntax=docker/dockerfile:1
# The Python that requirements.lock is made and tested with. Pin the digest in your own builds: --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libcap2-bin && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /build/requirements.lock
RUN python -m venv --copies --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /build/requirements.lock \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib
# A second copy of the interpreter may open ports below 1024; deploy/start says why it is a second one.
# hadolint ignore=DL3059
RUN cp /opt/venv/bin/python /opt/venv/bin/python-low-ports \
    && setcap cap_net_bind_service=+ep /opt/venv/bin/python-low-ports

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stigg sidecar" \
      org.opencontainers.image.description="An open, self-hosted sidecar for Stigg: entitlement checks over gRPC that stay up when the cloud does not." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
RUN python -m pip uninstall --yes --quiet pip setuptools wheel && install -d -o 65532 -g 65532 -m 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py LICENSE ./
COPY deploy/start deploy/start
COPY entitlements entitlements
COPY grpc_service grpc_service
COPY sidecar_project sidecar_project
RUN /opt/venv/bin/python -m compileall -q entitlements grpc_service sidecar_project
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
