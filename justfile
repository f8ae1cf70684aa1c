# Frequent commands.

# Run all checks that a change has to pass.
ci:
    bash .ci/run

# Run the tests only.
test:
    cargo test --workspace

# Format the code, and lint it as CI does.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Regenerate openapi.json from the routes.
openapi:
    UPDATE_OPENAPI=1 cargo test -p tests --test openapi

# Lint openapi.json, and sign in with a client that is generated from it (needs Node).
openapi-client:
    cargo build -p local
    bash .ci/openapi/run

# Run the store's contract suite on Amazon's DynamoDB Local (needs Java and Maven).
dynamodb-local:
    bash .ci/with-dynamodb-local cargo test -p tests --features dynamodb-local --test dynamodb_local

# Run the journey tests against the local server, on both stores (needs Java and Maven).
journeys:
    bash .ci/with-dynamodb-local bash .ci/with-keycloak bash .ci/journeys

# Check all flows as Lambda functions, and their roles (needs what `just cloud` needs, faketime, Node.js and xmlsec1).
cloud-checks:
    bash .ci/with-dynamodb-local bash .ci/with-kms bash .ci/with-cloud bash .ci/cloud

# Start the functions in an empty cloud (needs Java, Maven, Python and faketime).
cold-start:
    cargo build --workspace --bins
    bash .ci/with-dynamodb-local bash .ci/with-kms cargo test --workspace --features tests/dynamodb-local,tests/kms-emulator --test cold_start

# Test keys in an emulated KMS (needs Python).
kms:
    bash .ci/with-kms cargo test -p tests --features kms-emulator --test kms

# Run every flow as its own Lambda function over DynamoDB Local, at http://127.0.0.1:9000 (needs Java, Maven and Python).
cloud:
    bash .ci/with-dynamodb-local bash .ci/with-kms bash .ci/with-cloud

# Remove one protection of the SAML code at a time that `just conditions` cannot find: a test has to fail (docs/mutation.md).
saml-mutants *NAMES:
    cargo xtask saml-mutants {{NAMES}}

# Remove each condition of the library and the flows, one at a time: a test has to fail (docs/mutation.md). Takes hours for all,
# minutes for a file; continues an interrupted run. `--library` runs only the library's own tests, `--list` only lists conditions.
conditions *ARGS:
    nice -n 15 cargo run --quiet --locked --manifest-path .ci/conditions/Cargo.toml --target-dir target/conditions/tool -- {{ARGS}}

# Change the library and the flows in one place at a time, with cargo-mutants: a test has to fail (docs/mutation.md). Takes a day;
# `--file PATH` selects a part. Continues an interrupted run. The library's own tests run first, the others check what survives.
mutants *ARGS:
    -nice -n 15 cargo mutants --iterate {{ARGS}} -- --lib
    -nice -n 15 cargo mutants --iterate --test-package vestibule --test-package tests {{ARGS}} -- --lib --test attacks --test journeys --test saml
    cat target/mutants.out/missed.txt

# Measure the local server (docs/performance.md). Takes some minutes, mostly to compile.
bench:
    cargo bench -p local --bench runner

# Measure start and size of each Lambda function (docs/performance.md). Takes under two minutes after a long compilation.
bench-lambda:
    cargo build --locked --profile lambda --bins -p hello $(ls functions | sed 's/^/-p /')
    cargo bench --locked -p hello --bench lambda

# Regenerate docs/cost.md and docs/scale.md from the units that the flows use.
cost:
    cargo test --quiet -p tests --test costs -- --nocapture > target/costs.txt
    python3 infra/cost.py < target/costs.txt > docs/cost.md
    python3 infra/scale.py < target/costs.txt > docs/scale.md

# Build all functions and deploy them (docs/deploy.md): `just deploy [PARAMETERS] [options of sam deploy]`.
deploy *ARGUMENTS:
    bash infra/deploy.sh {{ARGUMENTS}}

# Lint the deployment templates.
template:
    bash .ci/template
