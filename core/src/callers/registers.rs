//! A frame's registers, by the numbers that DWARF gives them on x86-64.

/// How many there are: the general ones, and the address of the code.
pub const COUNT: usize = 17;
pub const RBX: usize = 3;
pub const RBP: usize = 6;
pub const RSP: usize = 7;
pub const R12: usize = 12;
pub const R15: usize = 15;
/// The address at which the frame's code is.
pub const PC: usize = 16;

/// The registers of a frame. Those that a called function may change are stale but for the innermost frame and one that a signal
/// interrupted; the tables don't speak of them in others.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Registers(pub [u64; COUNT]);

impl Registers {
    /// Those of the calling function, at this place in it.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn here() -> Registers {
        let mut registers = Registers([0; COUNT]);
        // SAFETY: writes to `registers` alone.
        unsafe {
            core::arch::asm!(
                "mov [{at} + 24], rbx",
                "mov [{at} + 48], rbp",
                "mov [{at} + 56], rsp",
                "mov [{at} + 96], r12",
                "mov [{at} + 104], r13",
                "mov [{at} + 112], r14",
                "mov [{at} + 120], r15",
                "lea {pc}, [rip]",
                "mov [{at} + 128], {pc}",
                at = in(reg) &raw mut registers,
                pc = out(reg) _,
                options(nostack),
            );
        }
        registers
    }

    /// Elsewhere nothing is known: a walk ends at once.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn here() -> Registers {
        Registers([0; COUNT])
    }
}
