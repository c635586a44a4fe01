# Tact in one image: the server, the shipped rules, the `tact` command, kernels compiled at build time.
#
#   docker build -t tact .
#   docker run -p 50051:50051 -v tact-data:/data tact
#
# Rules of your own: -v ./rules:/rules:ro -e TACT_RULES=/rules. A store of your own: -e TACT_REDIS=redis://..
# The root file system may be read-only (--read-only): only /data is written to.
# Accepted calls finish within TACT_GRACE_S (30 s) after SIGTERM: give `docker stop` at least -t 40.

FROM python:3.12-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/tact
RUN python -m venv venv
COPY requirements/runtime.txt requirements/
RUN venv/bin/python -m pip install --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md server.py ./
COPY engine engine
COPY rules rules
RUN venv/bin/python -m pip install --no-deps --no-build-isolation -e .

# Numba takes only cache directories that it can write to, and what is in one is code that will be run.
# Here the cache is part of the image and belongs to root: this locator reads it and never writes.
COPY <<"EOF" lib/baked_kernels.py
from numba.core.caching import UserProvidedCacheLocator


class Baked(UserProvidedCacheLocator):
    """A cache that was filled when the image was built."""

    def ensure_cache_path(self):
        """There is nothing to make sure of: a kernel that is missing here is an error at start."""
EOF

# Kernels for any CPU of this architecture (Numba keys its cache on the CPU's name), then byte code that
# does not depend on file times.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/tact/kernels
RUN venv/bin/python -c "from engine.columns.warm import warm; warm()" \
    && venv/bin/python -m compileall -q --invalidation-mode unchecked-hash engine lib server.py \
    && chmod -R a+rX,go-w /opt/tact


FROM python:3.12-slim

LABEL org.opencontainers.image.title="Tact" \
      org.opencontainers.image.description="A decisioning engine: rules, bandits and exact contact caps in one gRPC call." \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --system --gid 10001 tact \
    && useradd --system --uid 10001 --gid tact --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tact \
    && install -d -o tact -g tact -m 0700 /data
COPY --from=build /opt/tact /opt/tact

ENV PATH=/opt/tact/venv/bin:$PATH \
    PYTHONPATH=/opt/tact/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/opt/tact/kernels \
    NUMBA_CACHE_LOCATOR_CLASSES=baked_kernels.Baked \
    TACT_LISTEN=0.0.0.0:50051 \
    TACT_DATA=/data

WORKDIR /opt/tact
USER 10001:10001
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "engine.cli.health"]
ENTRYPOINT ["python", "server.py"]
