# The few commands that people type; `just` lists them.

default:
    @just --list

# All tests.
test:
    cargo test --workspace

# Format, lints, tests and licences, as CI runs them.
check:
    .ci/run

# The quickstart: three routers, confidential computing on and off, on the simulator.
quickstart out="results":
    cargo run --release -- run manifests/samples/quickstart.yaml --out {{out}}

# Write the custom resource definitions anew after a change of the types; the chart carries a copy.
crds:
    cargo run -- crds --out crds
    cargo run -- crds --out charts/teebench/files/crds

# Write what follows from the chart anew, and check chart and plain install.
chart:
    charts/generate
    charts/check

# Router decisions and stream parsing, as ratios against baselines of the same run.
bench:
    cargo bench --workspace
