//! A model check of code that shares memory: runs threads one step at a time, in every order that a number of interruptions can make.
//!
//! In a thread of [`explore`] each access to an atomic of this module is a step, before which another thread may be let on. An order is a list
//! of choices, and the next one differs from the last in its last choice that can differ: a search by depth, through all of them. Where
//! others neither read nor write what a thread writes, an interruption changes nothing; random orders find those words first.
//!
//! The processor is x86: everything happens in one order, but that an unlocked write ([`AtomicU64::add_late`]) is seen by others
//! when it pleases it, until its thread comes to a locked one, or to a fence, its own or one that another has the kernel make.
//! What weaker processors do more is not looked at. A system call is part of the step before it, and to the system there is one thread: what is
//! kept a thread all of them have together. Elsewhere the atomics are the processor's own.

use core::cell::{RefCell, RefMut};
use core::sync::atomic::{self, Ordering, Ordering::SeqCst};
use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// More steps than a run that ends can take.
const MOST_STEPS: usize = 200_000;
/// Orders at random that tell which words are shared.
const SAMPLES: u64 = 40;
/// Bytes of a thread's stack.
const STACK: usize = 512 << 10;

/// Where in its page a word lies: the same of a file's mappings, of which each process has one.
type Place = usize;

#[derive(Clone, Copy)]
struct Choice {
    taken: usize,
    of: usize,
}

enum Order {
    /// These choices first, then always the first.
    Listed,
    Random(u64),
}

struct State {
    order: Order,
    choices: Vec<Choice>,
    made: usize,
    interruptions: usize,
    steps: usize,
    /// Whose turn it is.
    running: usize,
    ended: Vec<bool>,
    /// Threads that can't go on before another writes.
    waiting: Vec<bool>,
    /// Writes that only their thread sees yet.
    late: Vec<VecDeque<(usize, u64)>>,
    /// Of each word, the threads that have read and written it.
    seen: HashMap<Place, (u64, u64)>,
    panic: Option<Box<dyn Any + Send>>,
}

struct Run {
    state: RefCell<State>,
    shared: HashSet<Place>,
    /// The threads', and behind them that of whoever runs them. No thread of the system's: those take longer to take turns.
    contexts: Vec<RefCell<libc::ucontext_t>>,
    bodies: Vec<*const dyn Fn()>,
}

thread_local! {
    static ME: RefCell<Option<Rc<Run>>> = const { RefCell::new(None) };
}

/// The run that the calling thread takes part in, and which of its threads it is.
fn mine() -> Option<(Rc<Run>, usize)> {
    let run = ME.try_with(|me| me.borrow().clone()).ok()??;
    let me = run.state().running;
    Some((run, me))
}

/// Runs `threads` on what `make` makes, in every order that has at most so many `interruptions`, and `check` after each; how many that
/// were. A panic in one of them ends it, after a line that tells the order.
pub fn explore<S>(interruptions: usize, make: impl Fn() -> S, threads: &[&dyn Fn(&S)], check: impl Fn(&S)) -> usize {
    let mut stacks = vec![vec![0; STACK]; threads.len()];
    let mut shared = HashSet::new();
    for seed in 1..=SAMPLES {
        let state = run(Order::Random(seed), Vec::new(), usize::MAX, None, &make, threads, &check, &mut stacks);
        shared.extend(conflicts(&state));
    }
    let (mut runs, mut choices) = (0, Vec::new());
    loop {
        let state = run(Order::Listed, choices, interruptions, Some(&shared), &make, threads, &check, &mut stacks);
        runs += 1;
        let known = shared.len();
        shared.extend(conflicts(&state));
        choices = state.choices;
        choices.truncate(state.made);
        if shared.len() > known {
            // More steps at which another may go on: from the start.
            choices.clear();
            continue;
        }
        while choices.last().is_some_and(|last| last.taken + 1 == last.of) {
            choices.pop();
        }
        match choices.last_mut() {
            Some(last) => last.taken += 1,
            None => return runs,
        }
    }
}

fn conflicts(state: &State) -> Vec<Place> {
    let is_shared = |&(readers, writers): &(u64, u64)| writers != 0 && (readers | writers).count_ones() > 1;
    state.seen.iter().filter(|(_, seen)| is_shared(seen)).map(|(place, _)| *place).collect()
}

#[allow(clippy::too_many_arguments)]
fn run<S>(
    order: Order,
    choices: Vec<Choice>,
    interruptions: usize,
    shared: Option<&HashSet<Place>>,
    make: &impl Fn() -> S,
    threads: &[&dyn Fn(&S)],
    check: &impl Fn(&S),
    stacks: &mut [Vec<u8>],
) -> State {
    let count = threads.len();
    let state = State {
        order,
        choices,
        made: 0,
        interruptions,
        steps: 0,
        running: count,
        ended: vec![false; count],
        waiting: vec![false; count],
        late: vec![VecDeque::new(); count],
        seen: HashMap::new(),
        panic: None,
    };
    let made = make();
    let bodies: Vec<Box<dyn Fn() + '_>> = threads.iter().map(|body| Box::new(|| body(&made)) as Box<dyn Fn()>).collect();
    let run = Rc::new(Run {
        state: RefCell::new(state),
        // None: each word may be shared.
        shared: shared.cloned().unwrap_or_else(|| (0..4096).collect()),
        contexts: (0..=count).map(|_| RefCell::new(context())).collect(),
        // SAFETY: only the lifetime is left out; the threads end before this function does.
        bodies: bodies
            .iter()
            .map(|body| unsafe { core::mem::transmute::<*const (dyn Fn() + '_), _>(&raw const **body) })
            .collect(),
    });
    for (context, stack) in run.contexts.iter().zip(stacks) {
        let context = context.as_ptr();
        // SAFETY: the context was filled by getcontext, and its stack outlives the run.
        unsafe {
            (*context).uc_stack.ss_sp = stack.as_mut_ptr().cast();
            (*context).uc_stack.ss_size = stack.len();
            libc::makecontext(context, begin, 0);
        }
    }
    ME.set(Some(run.clone()));
    let first = run.state().choose(count);
    run.switch(first);
    ME.set(None);
    drop(bodies);
    let mut state = Rc::into_inner(run).expect("no thread any more").state.into_inner();
    let panic = state.panic.take();
    let outcome = panic.map_or_else(|| catch_unwind(AssertUnwindSafe(|| check(&made))), Err);
    if let Err(panic) = outcome {
        let taken: Vec<usize> = state.choices.iter().map(|choice| choice.taken).collect();
        eprintln!("the order of choices was {taken:?}");
        resume_unwind(panic);
    }
    state
}

fn context() -> libc::ucontext_t {
    // SAFETY: zeros are a context, and getcontext fills it.
    unsafe {
        let mut context = core::mem::zeroed();
        assert_eq!(libc::getcontext(&raw mut context), 0);
        context
    }
}

/// A thread's life. Nothing of it may be left on its stack at the end, from which nobody returns.
extern "C" fn begin() {
    fn live() -> (*const Run, usize) {
        let (run, me) = mine().expect("a run");
        // SAFETY: `run` has it as long as its threads live.
        let body = unsafe { &*run.bodies[me] };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            run.state().panic.get_or_insert(panic);
        }
        (Rc::as_ptr(&run), run.end(me))
    }
    let (run, next) = live();
    // SAFETY: whoever runs the threads keeps it.
    unsafe { (*run).switch(next) };
}

impl Run {
    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Lets `next` go on, until somebody lets the caller.
    fn switch(&self, next: usize) {
        let me = core::mem::replace(&mut self.state().running, next);
        if me != next {
            // SAFETY: both were filled by getcontext or this, and live as long as the run.
            unsafe { libc::swapcontext(self.contexts[me].as_ptr(), self.contexts[next].as_ptr()) };
        }
    }

    /// The thread `me` ends; who goes on.
    fn end(&self, me: usize) -> usize {
        if !self.state().late[me].is_empty() {
            self.may_interrupt(me);
        }
        let mut state = self.state();
        state.drain(me);
        state.ended[me] = true;
        state.another(me).unwrap_or(state.ended.len())
    }

    /// The thread `me` is about to read or write `place`.
    fn step(&self, me: usize, place: Place, writes: bool) {
        let mut state = self.state();
        state.steps += 1;
        assert!(state.steps < MOST_STEPS, "the threads wait for each other");
        let seen = state.seen.entry(place).or_default();
        *(if writes { &mut seen.1 } else { &mut seen.0 }) |= 1 << me;
        drop(state);
        if self.shared.contains(&place) {
            self.may_interrupt(me);
        }
    }

    /// Another thread may go on before `me` does.
    fn may_interrupt(&self, me: usize) {
        loop {
            let mut state = self.state();
            let is_late = |thread: &usize| state.interruptions > 0 && !state.late[*thread].is_empty();
            let late: Vec<usize> = (0..state.late.len()).filter(is_late).collect();
            let others: Vec<usize> = if state.interruptions == 0 { Vec::new() } else { state.others(me) };
            let choice = state.choose(1 + late.len() + others.len());
            if choice == 0 {
                return;
            }
            state.interruptions -= 1;
            if let Some(&thread) = late.get(choice - 1) {
                state.write_late(thread);
            } else {
                let next = others[choice - 1 - late.len()];
                drop(state);
                return self.switch(next);
            }
        }
    }
}

impl State {
    fn choose(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        let at = self.made;
        self.made += 1;
        match (&mut self.order, self.choices.get(at)) {
            (Order::Listed, Some(choice)) => {
                assert_eq!(choice.of, of, "the same choices lead elsewhere");
                choice.taken
            }
            (order, _) => {
                let taken = match order {
                    Order::Listed => 0,
                    Order::Random(seed) => {
                        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        // Mostly on: else no thread gets far.
                        if *seed >> 33 & 3 == 0 { (*seed >> 40) as usize % of } else { 0 }
                    }
                };
                self.choices.push(Choice { taken, of });
                taken
            }
        }
    }

    /// The threads that could go on instead of `me`.
    fn others(&self, me: usize) -> Vec<usize> {
        (0..self.ended.len()).filter(|&thread| thread != me && !self.ended[thread] && !self.waiting[thread]).collect()
    }

    /// Whose turn it is when `me` can't go on.
    fn another(&mut self, me: usize) -> Option<usize> {
        let mut others = self.others(me);
        if others.is_empty() {
            self.waiting.fill(false);
            others = self.others(me);
        }
        if others.is_empty() { None } else { Some(others[self.choose(others.len())]) }
    }

    fn write_late(&mut self, thread: usize) {
        if let Some((address, value)) = self.late[thread].pop_front() {
            self.waiting.fill(false);
            // SAFETY: the address of an atomic that the thread wrote to in this run, which what the run is about outlives.
            unsafe { &*core::ptr::with_exposed_provenance::<atomic::AtomicU64>(address) }.store(value, SeqCst);
        }
    }

    fn drain(&mut self, thread: usize) {
        while !self.late[thread].is_empty() {
            self.write_late(thread);
        }
    }
}

/// A step that reads or writes the word at `address`. Locked writes come after all that the thread wrote before.
fn step(address: usize, writes: bool) {
    if let Some((run, me)) = mine() {
        run.step(me, address % 4096, writes);
        if writes {
            run.state().drain(me);
        }
    }
}

/// The calling thread has written what others may wait for.
fn wrote() {
    if let Some((run, _)) = mine() {
        run.state().waiting.fill(false);
    }
}

/// What the calling thread has written to `address`, and others may not see yet.
fn own_late(address: usize) -> Option<u64> {
    let (run, me) = mine()?;
    run.state().late[me].iter().rev().find(|(at, _)| *at == address).map(|(_, value)| *value)
}

/// The calling thread can't go on before another does; false outside of a run.
pub fn let_others() -> bool {
    let Some((run, me)) = mine() else { return false };
    let next = {
        let mut state = run.state();
        state.drain(me);
        state.waiting[me] = true;
        state.another(me)
    };
    run.switch(next.unwrap_or(me));
    true
}

/// As [`core::sync::atomic::fence`].
pub fn fence(order: Ordering) {
    if let Some((run, me)) = mine() {
        run.state().drain(me);
    }
    atomic::fence(order);
}

/// All threads come to a fence, by the kernel's doing; false outside of a run.
pub fn fence_all() -> bool {
    let Some((run, _)) = mine() else { return false };
    let mut state = run.state();
    (0..state.late.len()).for_each(|thread| state.drain(thread));
    true
}

macro_rules! atomic {
    ($name:ident, $plain:ty, $word:ty) => {
        /// As core's.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name($plain);

        #[allow(missing_docs, dead_code)]
        impl $name {
            pub const fn new(word: $word) -> $name {
                $name(<$plain>::new(word))
            }

            fn step(&self, writes: bool) {
                step((&raw const self.0).addr(), writes);
            }

            pub fn load(&self, order: Ordering) -> $word {
                self.step(false);
                own_late((&raw const self.0).addr()).map_or_else(|| self.0.load(order), |word| word as $word)
            }

            pub fn store(&self, word: $word, order: Ordering) {
                self.step(true);
                wrote();
                self.0.store(word, order);
            }

            pub fn swap(&self, word: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.swap(word, order)
            }

            pub fn compare_exchange(&self, now: $word, next: $word, yes: Ordering, no: Ordering) -> Result<$word, $word> {
                self.step(true);
                let outcome = self.0.compare_exchange(now, next, yes, no);
                if outcome.is_ok() {
                    wrote();
                }
                outcome
            }

            pub fn fetch_add(&self, amount: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.fetch_add(amount, order)
            }

            pub fn fetch_sub(&self, amount: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.fetch_sub(amount, order)
            }

            pub fn fetch_or(&self, bits: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.fetch_or(bits, order)
            }

            pub fn fetch_and(&self, bits: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.fetch_and(bits, order)
            }

            pub fn fetch_max(&self, word: $word, order: Ordering) -> $word {
                self.step(true);
                wrote();
                self.0.fetch_max(word, order)
            }

            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut next: impl FnMut($word) -> Option<$word>,
            ) -> Result<$word, $word> {
                let mut before = self.load(fetch);
                while let Some(after) = next(before) {
                    match self.compare_exchange(before, after, set, fetch) {
                        Ok(word) => return Ok(word),
                        Err(word) => before = word,
                    }
                }
                Err(before)
            }
        }
    };
}

atomic!(AtomicU64, atomic::AtomicU64, u64);
atomic!(AtomicU32, atomic::AtomicU32, u32);

impl AtomicU64 {
    /// Adds by an unlocked write; false outside of a run, where nothing is done.
    pub fn add_late(&self, amount: u64) -> bool {
        let Some((run, me)) = mine() else { return false };
        let address = (&raw const self.0).expose_provenance();
        run.step(me, address % 4096, true);
        let word = own_late(address).unwrap_or_else(|| self.0.load(SeqCst)).wrapping_add(amount);
        run.state().late[me].push_back((address, word));
        true
    }

    /// The processor's.
    pub fn plain(&self) -> &atomic::AtomicU64 {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Words = ([AtomicU64; 2], [atomic::AtomicU64; 2]);

    fn counts(write: fn(&AtomicU64), read: fn()) -> HashSet<(u64, u64)> {
        let outcomes = RefCell::new(HashSet::new());
        explore(
            3,
            Words::default,
            &[
                &|(words, seen): &Words| {
                    write(&words[0]);
                    read();
                    seen[0].store(words[1].load(SeqCst), SeqCst);
                },
                &|(words, seen): &Words| {
                    write(&words[1]);
                    read();
                    seen[1].store(words[0].load(SeqCst), SeqCst);
                },
            ],
            |(_, seen)| _ = outcomes.borrow_mut().insert((seen[0].load(SeqCst), seen[1].load(SeqCst))),
        );
        outcomes.into_inner()
    }

    #[test]
    fn of_two_who_write_and_look_one_sees_the_other_but_for_unlocked_writes() {
        let all = HashSet::from([(0, 1), (1, 0), (1, 1)]);
        assert_eq!(counts(|word| _ = word.fetch_add(1, SeqCst), || ()), all);
        assert_eq!(counts(|word| _ = word.add_late(1), || fence(SeqCst)), all);
        let neither = HashSet::from([(0, 0)]);
        assert_eq!(counts(|word| _ = word.add_late(1), || ()), &all | &neither);
    }

    #[test]
    fn a_lost_update_is_found() {
        let found = catch_unwind(|| {
            let add = |word: &AtomicU64| word.store(word.load(SeqCst) + 1, SeqCst);
            explore(1, || AtomicU64::new(0), &[&add, &add], |word| assert_eq!(word.load(SeqCst), 2));
        });
        assert!(found.is_err());
    }

    #[test]
    fn who_waits_lets_the_others_on() {
        let lock = |word: &AtomicU64| {
            while word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                let_others();
            }
            assert_eq!(word.swap(0, SeqCst), 1);
        };
        assert!(explore(2, || AtomicU64::new(0), &[&lock, &lock, &lock], |_| ()) > 10);
    }
}
