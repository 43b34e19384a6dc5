# syntax=docker/dockerfile:1

FROM python:3.11-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CONFIG=1 \
    UV_PROJECT_ENVIRONMENT=/opt/sidetone \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /build
# What others wrote changes seldom: a layer of its own.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra postgres --extra redis --extra s3 --no-install-project
COPY README.md LICENSE ./
COPY config/demo.yaml config/demo.yaml
COPY bridge bridge
COPY ewt ewt
COPY ivr_flows ivr_flows
COPY sms sms
RUN uv sync --frozen --no-dev --extra postgres --extra redis --extra s3 --no-editable

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Sidetone" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 sidetone \
    && useradd --system --uid 10001 --gid sidetone --home-dir /data --no-create-home --shell /usr/sbin/nologin sidetone \
    && install --directory --owner=sidetone --group=sidetone --mode=0700 /data
COPY --from=build /opt/sidetone /opt/sidetone
ENV PATH=/opt/sidetone/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SIDETONE_DATA=/data
USER sidetone
WORKDIR /data
VOLUME /data
# Web, SIP, audio.
EXPOSE 8080/tcp 5060/udp 20000-29999/udp
# Asks where the server listens: web.host may be an address of the host's, web.port another port.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; h = os.environ.get('SIDETONE_WEB__HOST', '127.0.0.1'); h = '127.0.0.1' if h == '0.0.0.0' else h; r.urlopen(f\"http://{h}:{os.environ.get('SIDETONE_WEB__PORT', '8080')}/healthz\", timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidetone"]
CMD ["serve", "--config", "/etc/sidetone/sidetone.yaml"]
