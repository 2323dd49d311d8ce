# Short names for the commands that the README and scripts/test use; nothing happens only here.

# What can be done
default:
    @just --list

# A whole development environment (README, "Try it")
dev *args:
    cargo run -- dev {{args}}

# Everything that must be green (README, "Try it")
test:
    scripts/test

# Formatting and lints alone
lint:
    cargo fmt --check
    cargo clippy --quiet --all-targets -- -D warnings

# One behaviour test by name
it name:
    cargo test --test it {{name}}

# Licenses, duplicates, sources, advisories
deny:
    cargo deny check

# Requests per second beside pgbench
bench:
    bench/run

# Instructions per request, held against their budget
count:
    bench/count --check

# What verifying and remembering tokens costs
bench-tokens:
    bench/tokens

# The demonstration in containers
up:
    docker compose up --build
