# The relay as an image: python run.py, as an ordinary user, with everything it needs inside and no compiler.
# docker run works by itself (embedded PostgreSQL under /data); docker-compose.yml gives it a server.
# Another version: --build-arg PYTHON=3.12.12-slim-trixie. How digests are checked and renewed: deploy/README.md.
ARG PYTHON=3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# Wheels only, each with the hash it had when it was chosen; no pip beside them. Compiled files name no
# time, so that the same packages are the same bytes.
FROM python:${PYTHON} AS packages
WORKDIR /build
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes --only-binary :all: \
    -r requirements.txt \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM python:${PYTHON}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin relay \
 && install --directory --owner relay --group relay --mode 0700 /data /backups
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY . .
# Which relay this is: `python run.py docker` tells both; REVISION is a full Git commit.
ARG VERSION=unknown
ARG REVISION=
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash . \
 && if [ -n "$REVISION" ]; then echo "$REVISION" > REVISION; fi
LABEL org.opencontainers.image.title="Trading Signal Processor" \
      org.opencontainers.image.description="A relay for trading alerts: durable, explained, in order." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RELAY_ENVIRONMENT=system \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data
USER relay
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=2)"]
CMD ["python", "run.py"]
