# docker build --tag rtunnel:0.1.0 .
# The base can be any image with Python 3.11 or later and its venv module.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY src src
# With all that a server may need: a registry in Redis, filters with regular expressions.
# The environment has no pip: nothing can be installed in a running container. The tests of the libraries are a quarter of it.
RUN python3 -m venv /build \
 && /build/bin/pip wheel --no-cache-dir --prefer-binary --wheel-dir /wheels '.[redis,regex]' \
 && python3 -m venv --without-pip /opt/rtunnel \
 && /build/bin/pip --python /opt/rtunnel/bin/python install --no-cache-dir --no-index --find-links /wheels 'rtunnel[redis,regex]' \
 && find /opt/rtunnel/lib -type d '(' -name test -o -name tests ')' -prune -exec rm -rf {} +
# Twisted searches for plugins at each start and caches the result next to them, which fails on a read-only root. The cache
# must be newer than the plugins, and layers store whole seconds only.
RUN /opt/rtunnel/bin/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))" \
 && touch -d "1 minute" /opt/rtunnel/lib/python3*/site-packages/twisted/plugins/dropin.cache

FROM ${BASE}
COPY --from=build /opt/rtunnel /opt/rtunnel
ENV PATH=/opt/rtunnel/bin:${PATH} \
    PYTHONUNBUFFERED=1
WORKDIR /
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8421 8080 8480
ENTRYPOINT ["rtunnel"]
CMD ["--help"]
