//! libFuzzer around one of the targets, which `ROWGATE_FUZZ_TARGET` names. `scripts/fuzz` builds and runs it.
#![no_main]

#[path = "../targets/table.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let wanted = std::env::var("ROWGATE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("ROWGATE_FUZZ_TARGET names no target: {wanted:?}")).1
});

fuzz_target!(|data: &[u8]| (*TARGET)(data));
