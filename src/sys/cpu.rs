//! Which CPU this is, as far as compiled code depends on it.

/// Bytes that differ wherever a compiler may generate other instructions: vendor, family and model, and the features that the
/// CPU reports (x86: CPUID; elsewhere the kernel's `AT_HWCAP` and `AT_HWCAP2`, getauxval(3)).
#[cfg(target_arch = "x86_64")]
pub fn identity() -> Vec<u8> {
    use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};

    // The low bits of the first leaf's eax are the stepping; its ebx and leaf 7's edx tell cores apart or change with microcode.
    const STEPPING: u32 = 0xf;
    let leaf = |n, sub| __cpuid_count(n, sub);
    let (highest, _) = __get_cpuid_max(0);
    let (name, model, extended) = (leaf(0, 0), leaf(1, 0), leaf(0x8000_0001, 0));
    let mut words = vec![name.ebx, name.ecx, name.edx];
    words.extend([model.eax & !STEPPING, model.ecx, model.edx, extended.ecx, extended.edx]);
    if highest >= 7 {
        for sub in [0, 1] {
            let features = leaf(7, sub);
            words.extend([features.eax, features.ebx, features.ecx]);
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// See above.
#[cfg(not(target_arch = "x86_64"))]
pub fn identity() -> Vec<u8> {
    let mut bytes = std::env::consts::ARCH.as_bytes().to_vec();
    for entry in [nix::libc::AT_HWCAP, nix::libc::AT_HWCAP2] {
        // SAFETY: the call takes a number and reads what the kernel gave the process at its start.
        bytes.extend(unsafe { nix::libc::getauxval(entry) }.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_same_on_every_core() {
        let first = super::identity();
        assert!(!first.is_empty());
        for _ in 0..100 {
            std::thread::yield_now();
            assert_eq!(super::identity(), first);
        }
    }
}
