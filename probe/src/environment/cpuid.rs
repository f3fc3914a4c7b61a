//! The CPU's word on isolation: leaf 0x4000000C of Microsoft's hypervisor interface.
//!
//! Source: Hypervisor Top Level Functional Specification, "Feature and Interface Discovery", and Linux'
//! `arch/x86/kernel/cpu/mshyperv.c`: the leaf counts when bit 22 of EBX of leaf 0x40000003 is set, and its EBX holds
//! the type in bits 0 to 3 (0 none, 1 VBS, 2 SEV-SNP, 3 TDX).

use crate::gpu::{Answer, Unanswered};

const LEAF_FEATURES: u32 = 1;
const LEAF_VENDOR: u32 = 0x4000_0000;
const LEAF_PRIVILEGES: u32 = 0x4000_0003;
const LEAF_ISOLATION: u32 = 0x4000_000C;
const BIT_HYPERVISOR: u32 = 1 << 31;
const BIT_ISOLATION: u32 = 1 << 22;
const VENDOR: [u8; 12] = *b"Microsoft Hv";

/// The four registers that a leaf fills.
#[derive(Clone, Copy, Debug, Default)]
struct Registers {
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
}

/// Isolation type of this CPU. A machine that is no guest of that hypervisor cannot say.
#[cfg(target_arch = "x86_64")]
pub(super) fn isolation_type() -> Answer<u32> {
    from_leaves(|leaf| {
        let result = std::arch::x86_64::__cpuid(leaf);
        Registers { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx }
    })
}

/// Other architectures have no such leaf.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn isolation_type() -> Answer<u32> {
    Err(Unanswered::NotSupported)
}

fn from_leaves(leaf: impl Fn(u32) -> Registers) -> Answer<u32> {
    let not_there = |why: &str| Err(Unanswered::Failed(why.to_owned()));
    if leaf(LEAF_FEATURES).ecx & BIT_HYPERVISOR == 0 {
        return not_there("the cpu reports no hypervisor");
    }
    let Registers { eax: last_leaf, ebx, ecx, edx } = leaf(LEAF_VENDOR);
    let mut vendor = [0; 12];
    for (word, bytes) in [ebx, ecx, edx].into_iter().zip(vendor.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    if vendor != VENDOR {
        return not_there(&format!("the hypervisor is {:?}, not Hyper-V", String::from_utf8_lossy(&vendor)));
    }
    if last_leaf < LEAF_ISOLATION {
        return not_there("the hypervisor has no leaf 0x4000000C");
    }
    if leaf(LEAF_PRIVILEGES).ebx & BIT_ISOLATION == 0 {
        return Ok(0);
    }
    Ok(leaf(LEAF_ISOLATION).ebx & 0xF)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn cpu(hypervisor: bool, vendor: &[u8; 12], last: u32, isolated: bool, kind: u32) -> impl Fn(u32) -> Registers {
        let word =
            |index: usize| u32::from_le_bytes([vendor[index], vendor[index + 1], vendor[index + 2], vendor[index + 3]]);
        let (ebx, ecx, edx) = (word(0), word(4), word(8));
        move |leaf| match leaf {
            LEAF_FEATURES => Registers { ecx: u32::from(hypervisor) << 31, ..Registers::default() },
            LEAF_VENDOR => Registers { eax: last, ebx, ecx, edx },
            LEAF_PRIVILEGES => Registers { ebx: u32::from(isolated) << 22, ..Registers::default() },
            LEAF_ISOLATION => Registers { eax: 1, ebx: 0x20 | kind, ..Registers::default() },
            _ => Registers::default(),
        }
    }

    #[rstest]
    #[case::snp(cpu(true, b"Microsoft Hv", 0x4000_000C, true, 2), Ok(2))]
    #[case::tdx(cpu(true, b"Microsoft Hv", 0x4000_0010, true, 3), Ok(3))]
    #[case::vbs(cpu(true, b"Microsoft Hv", 0x4000_000C, true, 1), Ok(1))]
    #[case::privilege_not_given(cpu(true, b"Microsoft Hv", 0x4000_000C, false, 2), Ok(0))]
    fn the_type_is_the_low_bits_where_the_privilege_is_given(
        #[case] leaf: impl Fn(u32) -> Registers,
        #[case] expected: Answer<u32>,
    ) {
        assert_eq!(from_leaves(leaf), expected);
    }

    #[rstest]
    #[case::bare_metal(cpu(false, b"Microsoft Hv", 0x4000_000C, true, 2), "no hypervisor")]
    #[case::kvm(cpu(true, b"KVMKVMKVM\0\0\0", 0x4000_0001, false, 0), "not Hyper-V")]
    #[case::older_hyper_v(cpu(true, b"Microsoft Hv", 0x4000_0006, true, 2), "no leaf")]
    fn elsewhere_the_cpu_cannot_say_which_is_not_none(#[case] leaf: impl Fn(u32) -> Registers, #[case] told: &str) {
        let reason = from_leaves(leaf).unwrap_err().to_string();
        assert!(reason.contains(told), "{reason}");
    }
}
