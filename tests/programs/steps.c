/* A process killed, or stopped, at every instruction of a call: the others go on, and the books are right afterwards.
 * Usage: steps OPERATION SEED SAMPLES CHECK...    (SAMPLES: at how many instructions to kill, 0 for all; CHECK...: as for storm)
 *
 * A child is led through its call one instruction at a time. In the first pass it is left stopped at each while this process makes the
 * calls that nobody may hold up: look-up, IPC_STAT, attach, detach. Then one child after the other is killed, at another
 * instruction each; then creating and removing has to work too, and nothing of the child may be left. */
#include "books.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define SUBJECT 0x5e0b0001
#define BYSTANDER 0x5e0b0002
#define OTHER 0x5e0b0003
#define HELPERS 12
#define BEHIND 600 /* instructions after a system call that are looked at, of a long call */

static struct board {
	_Atomic int wrong;
	_Atomic int phase;
	_Atomic int id;
} *board;

static int bystander;
static void *attached;
static pid_t helpers[HELPERS];
static const char *operation;

/* How long a call took, in ns of this thread's own. */
static long at, waiting, longest;

static void starts(void)
{
	waiting = waited();
	at = now();
}

static int took_too_long(void)
{
	long took = now() - at;
	if (took > LATE / 20)
		took -= waited() - waiting;
	longest = took > longest ? took : longest;
	return took > LATE;
}

#define TIMED(expression)                                   \
	({                                                  \
		starts();                                   \
		__auto_type result = expression;            \
		int error = errno;                          \
		late += took_too_long();                    \
		errno = error;                              \
		result;                                     \
	})

static void make_subject(void)
{
	board->id = shmget(SUBJECT, 2 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
	if (board->id == -1)
		complain("%s: no segment to start from: %s", operation, errname(errno));
}

static void nothing(void)
{
}

static void attach(void)
{
	attached = shmat(board->id, NULL, 0);
}

static void attach_often(void)
{
	for (int times = 0; times < 4; times++)
		shmdt(shmat(board->id, NULL, 0));
}

static void attach_removed(void)
{
	attach();
	shmctl(board->id, IPC_RMID, NULL);
}

static void create(void)
{
	shmget(SUBJECT, 2 * PAGE, IPC_CREAT | 0600);
}

static void detach(void)
{
	shmdt(attached);
}

static void set(void)
{
	struct shmid_ds ds;
	shmctl(board->id, IPC_STAT, &ds);
	ds.shm_perm.mode = 0640;
	shmctl(board->id, IPC_SET, &ds);
}

static void remove_it(void)
{
	shmctl(board->id, IPC_RMID, NULL);
}

static void fork_once(void)
{
	if (fork() == 0)
		_exit(0);
}

static void leave(void)
{
	exit(0);
}

static void look_at_all(void)
{
	struct shm_info info;
	shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
}

/* As many holders as a segment's slot has places. */
static void hold_by_many(void)
{
	make_subject();
	board->phase = 0;
	for (int n = 0; n < HELPERS; n++)
		if ((helpers[n] = fork()) == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			attach();
			board->phase++;
			for (;;)
				pause();
		}
	while (board->phase < HELPERS)
		sched_yield();
}

/* kernel.shm_rmid_forced is 1: nobody removes the segment. */
static void make_forced(void)
{
	static void *held;
	if (!held) {
		/* The bystander is to stay. */
		held = shmat(bystander, NULL, 0);
		FILE *file = fopen("/proc/sys/kernel/shm_rmid_forced", "w");
		if (held == FAILED || !file || fputs("1", file) == EOF || fclose(file) == EOF)
			complain("%s: can't be set", operation);
	}
	make_subject();
}

/* A removed segment whose last holder was killed. */
static void leave_removed(void)
{
	make_subject();
	pid_t child = fork();
	if (child == 0) {
		attach_removed();
		raise(SIGKILL);
	}
	waitpid(child, NULL, 0);
}

static void die_with_the_lock(void);

static const struct operation {
	const char *name;
	void (*before)(void);  /* by the controller */
	void (*prepare)(void); /* by the child */
	void (*act)(void);
	int is_long; /* it has loops of many turns: what lies near system calls is looked at */
} operations[] = {
	{"create", nothing, nothing, create, 0},
	{"attach", make_subject, nothing, attach, 0},
	{"attach-again", make_subject, attach_often, attach, 0},
	{"attach-beyond-12", hold_by_many, nothing, attach, 0},
	{"detach", make_subject, attach, detach, 0},
	{"detach-last", make_subject, attach_removed, detach, 0},
	{"detach-forced", make_forced, attach, detach, 0},
	{"set", make_subject, attach, set, 0},
	{"remove", make_subject, nothing, remove_it, 0},
	{"remove-attached", make_subject, attach, remove_it, 0},
	{"fork", make_subject, attach, fork_once, 1},
	{"exit", make_subject, attach, leave, 0},
	{"bury", leave_removed, nothing, look_at_all, 0},
	{"create-after-death", die_with_the_lock, nothing, create, 1},
};

static pid_t begin(const struct operation *what)
{
	board->phase = 0;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		what->prepare();
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		board->phase = 1;
		what->act();
		board->phase = 2;
		_exit(0);
	}
	int how;
	if (waitpid(child, &how, 0) != child || !WIFSTOPPED(how)) {
		complain("%s: the child does not come to its call: %#x", operation, how);
		exit(1);
	}
	return child;
}

/* Up to the next instruction, or system call's entry or exit; false when there is none left of the call. */
static int go_on(pid_t child, int request)
{
	int how, signal = 0;
	do {
		if (ptrace(request, child, NULL, (void *)(long)signal) == -1)
			return 0;
		if (waitpid(child, &how, 0) == -1 || !WIFSTOPPED(how)) {
			if (WIFSIGNALED(how))
				complain("%s: the child was ended by signal %d", operation, WTERMSIG(how));
			return 0;
		}
		signal = WSTOPSIG(how);
	} while (signal != SIGTRAP);
	return board->phase < 2;
}

static int step(pid_t child)
{
	return go_on(child, PTRACE_SINGLESTEP);
}

/* Up to the call's first instruction. */
static void lead_in(pid_t child)
{
	while (board->phase == 0 && step(child))
		;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* Killed once it has the lock, some instructions on. */
static void die_with_the_lock(void)
{
	char path[300];
	uint64_t writer = 0;
	static const struct operation that = {"", nothing, nothing, create, 0};
	snprintf(path, sizeof path, "%s/registry", directory);
	int registry = open(path, O_RDONLY);
	pid_t child = begin(&that);
	lead_in(child);
	do {
		if (!step(child))
			complain("create takes no lock");
	} while (pread(registry, &writer, sizeof writer, 48) == sizeof writer && writer == 0);
	for (int more = 0; more < 40; more++)
		step(child);
	end(child);
	close(registry);
}

static void look_at(void *memory)
{
	for (size_t n = 0; n < 3 * PAGE / 8; n++)
		if (((uint64_t *)memory)[n] != n * 0x5e5e5e5e5e5e5e5f) {
			complain("%s: the bystander's word %zu is damaged", operation, n);
			return;
		}
}

/* What nobody may hold up; how many were late. */
static int read_all(void)
{
	struct shmid_ds ds;
	int late = 0;
	if (TIMED(shmget(BYSTANDER, 0, 0)) != bystander)
		complain("%s: look-up: %s", operation, errname(errno));
	if (TIMED(shmctl(bystander, IPC_STAT, &ds)) == -1)
		complain("%s: IPC_STAT: %s", operation, errname(errno));
	void *memory = TIMED(shmat(bystander, NULL, 0));
	if (memory == FAILED)
		complain("%s: shmat: %s", operation, errname(errno));
	else if (look_at(memory), TIMED(shmdt(memory)) == -1)
		complain("%s: shmdt: %s", operation, errname(errno));
	int id = TIMED(shmget(SUBJECT, 0, 0));
	if (id != -1 && TIMED(shmctl(id, IPC_STAT, &ds)) == -1 && errno != EIDRM && errno != EINVAL)
		complain("%s: IPC_STAT of the subject: %s", operation, errname(errno));
	if (id != -1 && (memory = TIMED(shmat(id, NULL, 0))) != FAILED) {
		((volatile char *)memory)[2 * PAGE - 1];
		TIMED(shmdt(memory));
	} else if (id != -1 && errno != EIDRM && errno != EINVAL) {
		complain("%s: shmat of the subject: %s", operation, errname(errno));
	}
	return late;
}

static int change_all(void)
{
	int late = 0, id = TIMED(shmget(OTHER, PAGE, IPC_CREAT | IPC_EXCL | 0600));
	if (id == -1) {
		complain("%s: create: %s", operation, errname(errno));
		return late;
	}
	void *memory = TIMED(shmat(id, NULL, 0));
	if (memory == FAILED)
		complain("%s: shmat of a new segment: %s", operation, errname(errno));
	if (TIMED(shmctl(id, IPC_RMID, NULL)) == -1)
		complain("%s: remove: %s", operation, errname(errno));
	if (memory != FAILED && TIMED(shmdt(memory)) == -1)
		complain("%s: shmdt of a new segment: %s", operation, errname(errno));
	return late;
}

/* The child and its children are dead: nothing of them counts. But whoever reads /proc/PID/maps, on the kernel too, keeps a dead process's
 * memory, and so its attaches, until that is read. */
static void books_are_right(int checks)
{
	const struct timespec moment = {0, 10000000};
	for (int tries = 0; tries < 1000; tries++) {
		list_segments();
		count_maps(getpid(), 0);
		for (int n = 0; n < HELPERS; n++)
			if (helpers[n])
				count_maps(helpers[n], 0);
		if (!differs())
			break;
		nanosleep(&moment, NULL);
	}
	compare();
	if (checks)
		run_check();
}

/* Orphans have become ours. */
static void all_are_dead(void)
{
	int alive = 0;
	for (int n = 0; n < HELPERS; n++)
		alive += helpers[n] != 0;
	const struct timespec moment = {0, 100000};
	char path[80], text[4096];
	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	for (int words = -1; words != alive;) {
		if (words != -1)
			nanosleep(&moment, NULL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		FILE *file = fopen(path, "r");
		size_t length = fread(text, 1, sizeof text - 1, file);
		fclose(file);
		words = 0;
		for (size_t n = 0; n < length; n++)
			words += text[n] == ' ';
	}
}

static void clear(void)
{
	for (int n = 0; n < HELPERS; n++)
		if (helpers[n]) {
			end(helpers[n]);
			helpers[n] = 0;
		}
	/* As in books_are_right. */
	const struct timespec moment = {0, 10000000};
	for (int tries = 0; tries < 1000; tries++) {
		list_segments();
		for (int n = 0; n < ids; n++)
			if (known[n].id != bystander)
				shmctl(known[n].id, IPC_RMID, NULL);
		list_segments();
		if (ids == 1)
			break;
		nanosleep(&moment, NULL);
	}
	if (ids != 1)
		complain("%s: %d segments can't be removed", operation, ids - 1);
}

static long step_now;

static void hangs(int signal)
{
	(void)signal;
	complain("%s: at instruction %ld a call of another process hangs", operation, step_now);
	_exit(1);
}

static void look_meanwhile(void)
{
	alarm(20);
	/* Late a second time is no accident. */
	if (read_all() && read_all() && read_all())
		complain("%s: stopped at instruction %ld it makes others wait", operation, step_now);
	alarm(0);
}

/* Stopped at each instruction; how many there are, or of a long call, how many stops at system calls. */
static long stop_at_each(const struct operation *what)
{
	what->before();
	pid_t child = begin(what);
	lead_in(child);
	long count = 0;
	int goes_on = 1;
	for (; goes_on && !*wrong; count++) {
		step_now = count;
		look_meanwhile();
		for (int n = 0; what->is_long && goes_on && n < BEHIND; n++)
			if ((goes_on = step(child)))
				look_meanwhile();
		goes_on = goes_on && go_on(child, what->is_long ? PTRACE_SYSCALL : PTRACE_SINGLESTEP);
	}
	end(child);
	all_are_dead();
	change_all();
	books_are_right(1);
	clear();
	if (!what->is_long)
		return count;
	what->before();
	child = begin(what);
	lead_in(child);
	for (count = 1; go_on(child, PTRACE_SYSCALL);)
		count++;
	end(child);
	all_are_dead();
	clear();
	return count;
}

/* Killed at one; true if others were late. */
static int kill_at(const struct operation *what, long count, long behind, int checks)
{
	step_now = count;
	what->before();
	pid_t child = begin(what);
	lead_in(child);
	int goes_on = 1;
	for (long n = 0; n < count && goes_on; n++)
		goes_on = go_on(child, what->is_long ? PTRACE_SYSCALL : PTRACE_SINGLESTEP);
	for (; behind && goes_on; behind--)
		goes_on = step(child);
	kill(child, SIGKILL);
	alarm(20);
	/* Half of the time it is removed before anybody attaches it again, and mends it by that. */
	if (count % 2)
		shmctl(board->id, IPC_RMID, NULL);
	int late = read_all() + change_all();
	alarm(0);
	all_are_dead();
	/* Once more, now that all of it is gone for certain. */
	late += change_all() + read_all();
	if (what->before == make_forced && shmget(SUBJECT, 0, 0) != -1)
		complain("%s: killed at instruction %ld it leaves its segment", operation, count);
	books_are_right(checks);
	clear();
	if (*wrong)
		printf("%s: killed at instruction %ld, %ld behind\n", operation, count, behind);
	return late != 0;
}

int main(int argc, char **argv)
{
	directory = getenv("SHMGATE_NAMESPACE");
	if (argc < 5 || !directory)
		return 2;
	operation = argv[1];
	uint64_t random = strtoull(argv[2], NULL, 10) + 1;
	long samples = atol(argv[3]), tries = 0;
	check = argv + 4;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	wrong = &board->wrong;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGALRM, hangs);
	bystander = shmget(BYSTANDER, 3 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
	uint64_t *words = shmat(bystander, NULL, 0);
	if (words == FAILED)
		return 2;
	for (size_t n = 0; n < 3 * PAGE / 8; n++)
		words[n] = n * 0x5e5e5e5e5e5e5e5f;
	shmdt(words);
	const struct operation *what = NULL;
	for (size_t n = 0; n < sizeof operations / sizeof *operations; n++)
		if (!strcmp(operations[n].name, operation))
			what = &operations[n];
	if (!what)
		return 2;

	long count = stop_at_each(what);
	long times = samples ? samples : what->is_long ? count * 40 : count;
	for (; tries < times && !*wrong; tries++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		long at = samples || what->is_long ? (long)((random >> 33) % count) : tries;
		/* Of a long call now and then one in the middle of a loop. */
		long behind = what->is_long ? (long)((random >> 20) % (tries % 16 == 15 ? 300000 : BEHIND)) : 0;
		int checks = samples || at % 16 == 0;
		if (kill_at(what, at, behind, checks) && kill_at(what, at, behind, 1) && kill_at(what, at, behind, 1))
			complain("%s: killed at instruction %ld it makes others wait", operation, at);
	}
	printf("%s: %ld %s, killed at %ld, longest %ld us\n", operation, count, what->is_long ? "stops" : "instructions", tries,
	       longest / 1000);
	return *wrong != 0;
}
