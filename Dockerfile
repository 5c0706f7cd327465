# docker build --tag rtunnel:0.1.0 .
# Any Debian with Python 3.11 or later and its venv module can be the base. "make pin" brings the newest digest of this one.
ARG BASE=docker.io/library/python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# The wheel, whose modules are compiled. The compiler is the base's own, from Debian; nothing else of this stage goes on.
FROM ${BASE} AS wheel
WORKDIR /src
COPY requirements-build.lock ./
RUN apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends gcc libc6-dev \
    $(python3 -c 'import os, sysconfig as s; print("" if os.path.exists(s.get_path("include") + "/Python.h") else "python3-dev")')
RUN python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes --requirement requirements-build.lock
COPY setup.cfg setup.py build_backend.py mypyc.toml pyproject.toml README.md LICENSE ./
COPY src src
RUN RTUNNEL_COMPILE=1 /build/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /wheels .

FROM ${BASE} AS build
WORKDIR /src
# What a server may need, a registry in Redis and filters with regular expressions among it: wheels, each known by its hash.
COPY requirements.lock ./
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/rtunnel \
 && /build/bin/pip --python /opt/rtunnel/bin/python3 install --no-cache-dir --no-compile --only-binary :all: --require-hashes \
    --requirement requirements.lock
COPY --from=wheel /wheels /wheels
RUN /build/bin/pip --python /opt/rtunnel/bin/python3 install --no-cache-dir --no-compile --no-deps --no-index --find-links /wheels rtunnel
# The rest of the base stays behind: nobody needs a shell or a package manager in a running container.
COPY deploy/image/root_filesystem.py ./
RUN python3 root_filesystem.py /opt/rtunnel /root-filesystem

FROM scratch
COPY --from=build /root-filesystem /
ENV PATH=/opt/rtunnel/bin \
    PYTHONUNBUFFERED=1
WORKDIR /
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8421 8080 8480
LABEL org.opencontainers.image.title="rtunnel" \
      org.opencontainers.image.description="Reverse tunnels over WebSocket for Kubernetes developers" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["rtunnel"]
CMD ["--help"]
