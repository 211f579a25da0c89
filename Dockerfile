# The relay as an image: python run.py, as an ordinary user, with everything it needs inside.
# docker run works by itself (embedded PostgreSQL under /data); docker-compose.yml gives it a server.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS packages
RUN python -m venv /opt/venv
COPY requirements.txt .
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.txt

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Trading Signal Processor" \
      org.opencontainers.image.description="A relay for trading alerts: durable, explained, in order." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin relay \
 && install --directory --owner relay --group relay --mode 0700 /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY . .
RUN /opt/venv/bin/python -m compileall -q .
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
