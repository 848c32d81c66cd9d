//! Tests of walks, against libgcc's unwinder.

use super::*;

/// The stack by libgcc, the innermost frame first.
fn by_libgcc() -> Vec<u64> {
    unsafe extern "C" {
        fn backtrace(buffer: *mut *mut libc::c_void, size: libc::c_int) -> libc::c_int;
    }
    let mut buffer = [core::ptr::null_mut(); 64];
    // SAFETY: the buffer has room for that many.
    let count = unsafe { backtrace(buffer.as_mut_ptr(), 64) };
    buffer[..count as usize].iter().map(|pc| *pc as u64).collect()
}

/// The return addresses of the frames around this function's caller, by both.
#[inline(never)]
fn both(callers: &Callers) -> (Vec<u64>, Vec<u64>, End) {
    let mut ours = Vec::new();
    let end = walk::walk(callers.modules, &callers.tables, &mut Registers::here(), |_, frame| {
        ours.push(frame.address + 1);
        true
    });
    (ours, by_libgcc(), end)
}

#[inline(never)]
fn deep(callers: &Callers, depth: u32) -> (Vec<u64>, Vec<u64>, End) {
    let mut large = [0_u8; 6000];
    std::hint::black_box(&mut large);
    let result = if depth == 0 { both(callers) } else { deep(callers, depth - 1) };
    std::hint::black_box(&mut large);
    result
}

#[test]
fn a_walk_finds_what_libgcc_finds() {
    let callers = Callers::new().unwrap();
    // The second time by what is remembered.
    for depth in [0, 3, 3, 12, 12] {
        let (ours, theirs, end) = deep(&callers, depth);
        assert_eq!(end, End::Outermost);
        // The first two are each one's own place.
        let from = theirs.iter().position(|pc| *pc == ours[1]).unwrap();
        assert_eq!(ours[1..], theirs[from..from + ours.len() - 1], "{depth}");
        assert!(ours.len() > depth as usize + 3);
    }
}

#[test]
fn a_signal_is_walked_through() {
    use std::sync::Mutex;
    type Walked = (Vec<bool>, End, Vec<u64>);
    static FOUND: Mutex<Option<Walked>> = Mutex::new(None);
    extern "C" fn handler(_: libc::c_int) {
        let callers = Callers::new().unwrap();
        let (mut signals, mut ours) = (Vec::new(), Vec::new());
        let end = walk::walk(callers.modules, &callers.tables, &mut Registers::here(), |_, frame| {
            signals.push(frame.is_signal);
            ours.push(frame.address);
            true
        });
        *FOUND.lock().unwrap() = Some((signals, end, ours));
    }
    // SAFETY: the handler touches only what nobody else does meanwhile.
    unsafe {
        libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t);
        libc::raise(libc::SIGUSR2);
    }
    let (signals, end, ours) = FOUND.lock().unwrap().take().unwrap();
    assert_eq!(end, End::Outermost, "{ours:x?}");
    assert_eq!(signals.iter().filter(|is_signal| **is_signal).count(), 1);
    assert!(ours.len() > 6);
}

#[test]
fn what_leads_nowhere_ends() {
    let callers = Callers::new().unwrap();
    let mut registers = Registers::here();
    let count = |mut registers| {
        let mut count = 0;
        let end = walk::walk(callers.modules, &callers.tables, &mut registers, |_, _| {
            count += 1;
            true
        });
        (count, end)
    };
    assert_eq!(count(Registers([0; registers::COUNT])), (0, End::Outermost));
    assert_eq!(count(Registers([u64::MAX; registers::COUNT])), (0, End::Unknown));
    registers.0[registers::PC] = Box::leak(Box::new([0xc3_u8; 16])).as_ptr() as u64;
    assert_eq!(count(registers), (0, End::Unknown), "generated code");
    // Stacks that are not there, or lead in a circle.
    for bad in [0, 8, 1 << 63, u64::MAX - 7] {
        let mut registers = Registers::here();
        registers.0[registers::RSP] = bad;
        registers.0[registers::RBP] = bad;
        let (count, end) = count(registers);
        assert!(count <= 1 && end == End::Unknown, "{bad:x} {count} {end:?}");
    }
}

#[test]
fn each_address_of_libc_has_an_answer() {
    let callers = Callers::new().unwrap();
    let module = callers.modules.of(libc::getpid as *const () as u64).unwrap();
    let mut window = memory::Window::default();
    let mut found = 0;
    for address in (module.start..module.end).step_by(61) {
        found += u32::from(cfi::rules(&module, address, &mut window).is_some());
    }
    assert!(u64::from(found) > (module.end - module.start) / 61 / 3, "{found}");
}

#[test]
fn damaged_tables_are_answered() {
    let callers = Callers::new().unwrap();
    let real = callers.modules.of(libc::getpid as *const () as u64).unwrap();
    // The part of libc with the tables, in memory that can be spoilt.
    let len = (real.end - real.start) as usize;
    let mut copy = vec![0_u8; len];
    let mut window = memory::Window::default();
    for at in (0..len - 4096).step_by(4096) {
        if let Some(page) = window.read::<4096>(real.start + at as u64) {
            copy[at..at + 4096].copy_from_slice(&page);
        }
    }
    let start = copy.as_ptr() as u64;
    let moved = |address: u64| address - real.start + start;
    let mut module = real;
    (module.start, module.end, module.frames) = (start, start + len as u64, moved(real.frames));
    let address = moved(libc::getpid as *const () as u64);
    assert!(cfi::rules(&module, address, &mut memory::Window::default()).is_some());
    let mut random = 0x1234_5678_9abc_def1_u64;
    for round in 0..1_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = (real.frames - real.start) as usize + (random as usize >> 8) % 0x20000;
        if let Some(byte) = copy.get_mut(at.min(len - 1)) {
            *byte = random as u8;
        }
        let pc = if round % 2 == 0 { address } else { start + (random >> 16) % len as u64 };
        let mut window = memory::Window::default();
        if let Some((rules, _)) = cfi::rules(&module, pc, &mut window) {
            let mut stack = memory::Window::default();
            let _ = rules.step(&mut Registers::here(), start, &mut stack, &mut window);
        }
    }
}
