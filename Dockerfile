# One image with all programs of Storeline. Dependencies are compiled in a layer of their own, which only changed
# manifests make anew; the image itself holds the programs, the libraries that they load, and nothing else: no shell, no
# package manager, no root.

# Debian's image with compilers, OpenSSL and zlib, which librdkafka is built against.
FROM rust:1.95.0-bookworm AS tools
RUN cargo install --locked cargo-chef --version 0.1.78
WORKDIR /src

FROM tools AS plan
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM tools AS build
ENV PROGRAMS="--package shop --package api-gateway --package product-service --package inventory-service \
    --package order-service --package payment-service --package saga-orchestrator" \
    FEATURES="shop/kafka,product-service/process,inventory-service/process,order-service/process,payment-service/process,saga-orchestrator/process,api-gateway/process"
COPY --from=plan /recipe.json /recipe.json
# hadolint ignore=SC2086
RUN cargo chef cook --locked --release --recipe-path /recipe.json $PROGRAMS --features "$FEATURES"
COPY . .
# hadolint ignore=SC2086
RUN cargo build --locked --release --bins $PROGRAMS --features "$FEATURES" \
    && sh deploy/image-files.sh /image target/release shop api-gateway product-service inventory-service order-service \
        payment-service saga-orchestrator

FROM scratch
COPY --from=build /image /
# Numbers, since what checks them cannot read /etc/passwd.
USER 65532:65532
WORKDIR /data
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# gRPC of the services, REST, metrics.
EXPOSE 50051 50052 50053 50054 50055 8080 9464
CMD ["shop"]
