# What is done twice.

# Everything that has to pass before a change lands.
ci:
    bash .ci/run

# The tests alone.
test:
    cargo test --workspace

# Format, then lint as CI does.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Writes openapi.json anew from the routes.
openapi:
    UPDATE_OPENAPI=1 cargo test -p tests --test openapi

# Lints openapi.json, and signs in with a client that is generated from it (needs Node).
openapi-client:
    cargo build -p local
    bash .ci/openapi/run

# The store's contract on Amazon's DynamoDB Local (needs Java and Maven).
dynamodb-local:
    bash .ci/with-dynamodb-local cargo test -p tests --features dynamodb-local --test dynamodb_local

# The journeys of the tests against the local runner, over both stores (needs Java and Maven).
journeys:
    bash .ci/with-dynamodb-local bash .ci/with-keycloak bash .ci/journeys

# Keys in an emulated KMS (needs Python).
kms:
    bash .ci/with-kms cargo test -p tests --features kms-emulator --test kms

# Every flow as its own Lambda over DynamoDB Local, at http://127.0.0.1:9000 (needs Java, Maven and Python).
cloud:
    bash .ci/with-dynamodb-local bash .ci/with-kms bash .ci/cloud serve

# Takes each guard of the IdP's door away, one at a time: some test has to miss it. A quarter of an hour.
guards *NAMES:
    python3 .ci/guards {{NAMES}}

# Removes each condition of the library and the flows, one at a time: some test has to miss it (docs/mutation.md). Hours for all,
# minutes for a file; goes on where it was stopped. `--library` asks the library's own tests alone, `--list` only names them.
conditions *ARGS:
    nice -n 15 cargo run --quiet --locked --manifest-path .ci/conditions/Cargo.toml --target-dir target/conditions/tool -- {{ARGS}}

# Changes the library and the flows in one place at a time, with cargo-mutants: some test has to notice (docs/mutation.md). A day for
# all; `--file PATH` for a part. Goes on where it was stopped. The library's own tests are asked first, the others about the rest.
mutants *ARGS:
    -nice -n 15 cargo mutants --iterate {{ARGS}} -- --lib
    -nice -n 15 cargo mutants --iterate --test-package vestibule --test-package tests {{ARGS}} -- --lib --test attacks --test journeys --test saml
    cat target/mutants.out/missed.txt

# Measures the local runner (docs/performance.md): some minutes, most of them compiling.
bench:
    cargo bench -p local --bench runner

# Measures start and size of each Lambda (docs/performance.md): under two minutes after compiling, which takes far longer.
bench-lambda:
    cargo build --locked --profile lambda --bins -p hello $(ls functions | sed 's/^/-p /')
    cargo bench --locked -p hello --bench lambda

# Writes docs/cost.md and docs/scale.md anew from what flows cost on the wire.
cost:
    cargo test --quiet -p tests --test costs -- --nocapture > target/costs.txt
    python3 infra/cost.py < target/costs.txt > docs/cost.md
    python3 infra/scale.py < target/costs.txt > docs/scale.md

# Builds all functions and deploys them (docs/deploy.md): `just deploy [PARAMETERS] [options of sam deploy]`.
deploy *ARGUMENTS:
    bash infra/deploy.sh {{ARGUMENTS}}

# Lints the deployment's templates.
template:
    bash .ci/template
