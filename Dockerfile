# The image of modelpress: the server and the command, the libraries they load, and nothing else (no shell, no package
# manager). ./dev makes its own container from the toolchain stage, so both know one package list.
#
# Two of them: modelpress, and modelpress-train, which has modelpress-trainer and libtorch too (for finetune and distill).
#
#   docker build -t modelpress .
#   docker build -t modelpress-train --target modelpress-train .
#   docker run --read-only --cap-drop ALL --tmpfs /scratch:mode=0700,uid=65532 -p 7600:7600 -p 7601:7601 modelpress

ARG BASE=docker.io/library/debian:trixie-slim
FROM ${BASE} AS toolchain
# Sections of cmake/packages.txt; empty: all of them.
ARG PACKAGE_SECTIONS=build
COPY cmake/packages.txt cmake/packages.sh /opt/modelpress/
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -q -y --no-install-recommends $(sh /opt/modelpress/packages.sh ${PACKAGE_SECTIONS}) \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb

FROM toolchain AS programs
# Where compiled objects are kept between builds; a builder that mounts its own folder names it.
ARG CCACHE_DIR=/var/cache/ccache
ENV CCACHE_DIR=${CCACHE_DIR} CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content \
    CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1 CCACHE_PCH_EXTSUM=1
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/var/cache/ccache \
    cmake --preset release \
 && cmake --build build/release --parallel "$(nproc)" --target modelpress modelpressd \
 && ccache --show-stats \
 && sh deploy/image/collect.sh /out build/release/bin/modelpress build/release/bin/modelpressd

FROM programs AS trainer-programs
RUN --mount=type=cache,target=/var/cache/ccache \
    export DEBIAN_FRONTEND=noninteractive \
 && apt-get update -q \
 && apt-get install -q -y --no-install-recommends $(sh /opt/modelpress/packages.sh train) \
 && cmake --preset release \
 && cmake --build build/release --parallel "$(nproc)" --target modelpress-trainer \
 && sh deploy/image/collect.sh /out-train build/release/bin/modelpress build/release/bin/modelpressd \
       build/release/bin/modelpress-trainer

FROM scratch AS settings
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="modelpress" \
      org.opencontainers.image.description="Compresses and converts trained models, as a gRPC service and as a command" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="scratch"
USER 65532:65532
ENV LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 7600 7601
ENTRYPOINT ["/usr/bin/modelpressd"]
CMD ["--listen", "0.0.0.0:7600", "--metrics", "0.0.0.0:7601", "--scratch", "/scratch"]

FROM settings AS modelpress-train
COPY --from=trainer-programs /out-train/root/ /
COPY --from=trainer-programs --chown=65532:65532 /out-train/scratch/ /scratch/

FROM settings AS modelpress
COPY --from=programs /out/root/ /
# Where a folder is mounted; belongs to the user so that a plain `docker run` works too.
COPY --from=programs --chown=65532:65532 /out/scratch/ /scratch/
