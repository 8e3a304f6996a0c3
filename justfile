# Shortcuts for what .ci/run does; nothing needs them.

# List the recipes.
default:
    @just --list

# Everything that a change must pass.
ci:
    ./.ci/run

# Put every file into its form.
fmt:
    cargo fmt --all

# Form and lints, warnings being errors.
lint:
    cargo fmt --all --check
    cargo clippy --locked --all-targets -- -D warnings

# The documentation of the crate.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps

# Licences, sources and unwanted crates.
deny:
    cargo deny check bans licenses sources

# All tests, or those whose name holds a word: just test tidy
test *word:
    cargo test {{word}}

# The whole daemon against the sandbox.
demo:
    cargo run -- demo
