/* Many processes on one namespace, killed and stopped at random moments; the books must be exact afterwards.
 * Usage: storm SEED KILLS CHECK...    (CHECK...: a command that says whether the namespace is whole)
 *
 * The controller (this process, which calls too) starts workers and kills one after the other; some it stops for a while. Every so often all park
 * between two calls, and what the calls say is compared with the truth: nattch with /proc/PID/maps, ids and pages with their sums, the
 * directory with the ids, the contents of segments that nobody may write with what was written at the start.
 *
 * No call may take 100 ms because of a process that was killed, and no look-up, IPC_STAT, attach or detach because of one that was
 * stopped. */
#include "books.h"
#include <sys/prctl.h>

#define WORKERS 16
#define PLACES 512
#define KEYS 12
#define KEPT 3 /* segments that nobody writes or removes */
#define KEY(n) (0x5e0a0000 + (n))
#define MINE 24		/* attaches of a worker */

struct place {
	_Atomic int pid;
	_Atomic int parked; /* its threads that are between two calls */
	_Atomic int threads;
	_Atomic int beside; /* its parent has another thread */
	_Atomic unsigned stops; /* how often it was stopped and continued */
	_Atomic unsigned long calls;
	_Atomic int inside; /* a call */
};

static struct board {
	_Atomic int pause;
	_Atomic unsigned stops; /* of anybody; odd while somebody is stopped */
	_Atomic long worst;
	_Atomic int wrong;
	_Atomic int late;
	struct place places[PLACES];
} *board;

static struct place *place;
/* Marsaglia's xorshift64*, one for each thread. */
static __thread uint64_t state;

static void seed(uint64_t from)
{
	state = (from + 1) * 0x9e3779b97f4a7c15;
}

static unsigned below(unsigned end)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1d >> 33) % end;
}

struct call {
	long at, waited;
	unsigned own, all;
};

static struct call begins(void)
{
	if (place) {
		place->calls++;
		place->inside = 1;
	}
	return (struct call){.waited = waited(), .own = place ? (unsigned)place->stops : 0, .all = board->stops, .at = now()};
}

/* A call that changes the books may wait for a process that is stopped in the middle of changing them. */
static void ends(struct call call, const char *what, int may_wait)
{
	int error = errno;
	long took = now() - call.at;
	if (place)
		place->inside = 0;
	unsigned own = place ? (unsigned)place->stops : 0;
	if (took > LATE / 20)
		took -= waited() - call.waited;
	if (own == call.own && !(may_wait && (call.all % 2 || board->stops != call.all))) {
		long worst = board->worst;
		while (took > worst && !atomic_compare_exchange_weak(&board->worst, &worst, took))
			;
		if (took > LATE) {
			board->late++;
			printf("late: %s of process %d took %ld ms\n", what, getpid(), took / 1000000);
		}
	}
	errno = error;
}

#define TIMED(what, may_wait, expression)            \
	({                                           \
		struct call begun = begins();        \
		__auto_type result = expression;     \
		ends(begun, what, may_wait);         \
		result;                              \
	})

static int get(int key, size_t size, int flags)
{
	return TIMED("shmget", flags & IPC_CREAT, shmget(key, size, flags));
}

static int control(const char *what, int id, int command, void *buffer)
{
	return TIMED(what, command == IPC_RMID || command == IPC_SET, shmctl(id, command, (struct shmid_ds *)buffer));
}

/* The child has a clock of its own. */
static pid_t timed_fork(void)
{
	struct call call = begins();
	pid_t pid = fork();
	if (pid)
		ends(call, "fork", 0);
	return pid;
}

static size_t size_of_key(int n)
{
	return (2 + n % 5) * PAGE;
}

static uint64_t word_of(int n, size_t at)
{
	return (uint64_t)n << 32 | (at * 2654435761u & 0xffffffff);
}

static void look_at_kept(int n, const volatile uint64_t *words)
{
	for (size_t at = 0; at < size_of_key(n) / 8; at++)
		if (words[at] != word_of(n, at)) {
			complain("kept segment %d: word %zu is %#lx", n, at, (unsigned long)words[at]);
			return;
		}
}

static void register_process(int beside)
{
	for (int n = 0;; n = (n + 1) % PLACES) {
		int nobody = 0;
		if (atomic_compare_exchange_strong(&board->places[n].pid, &nobody, getpid())) {
			place = &board->places[n];
			place->parked = 0;
			place->inside = 0;
			place->threads = 1;
			place->beside = beside;
			return;
		}
	}
}

static void gone(pid_t pid)
{
	for (int n = 0; n < PLACES; n++)
		if (board->places[n].pid == pid)
			board->places[n].pid = 0;
}

static void park(void)
{
	if (!board->pause)
		return;
	const struct timespec moment = {0, 1000000};
	place->parked++;
	while (board->pause)
		nanosleep(&moment, NULL);
	place->parked--;
}

static __thread char *mine[MINE];
static __thread int is_kept[MINE];

/* One random call. Now and then a rest: with all of them busy, most of the time would be waiting for a processor. */
static void step(void)
{
	const struct timespec rest = {0, 1000000};
	if (below(4) == 0)
		nanosleep(&rest, NULL);
	struct shmid_ds ds;
	int slot = below(MINE), n = below(3) ? below(KEYS) : 0, id;
	switch (below(16)) {
	case 0 ... 5:
		if (mine[slot]) {
			if (is_kept[slot])
				look_at_kept(is_kept[slot] - 1, (uint64_t *)mine[slot]);
			if (TIMED("shmdt", 0, shmdt(mine[slot])) == -1)
				complain("shmdt of what was attached: %s", errname(errno));
			mine[slot] = NULL;
			break;
		}
		is_kept[slot] = below(4) ? 0 : 1 + below(KEPT);
		if (is_kept[slot])
			id = get(KEY(0x1000 + is_kept[slot] - 1), 0, 0);
		else
			id = get(KEY(n), size_of_key(n), IPC_CREAT | 0600);
		if (is_kept[slot] && id == -1)
			complain("shmget of a kept segment: %s", errname(errno));
		if (id == -1)
			break;
		mine[slot] = TIMED("shmat", 0, shmat(id, NULL, is_kept[slot] || below(4) == 0 ? SHM_RDONLY : 0));
		if (mine[slot] == FAILED) {
			if (is_kept[slot])
				complain("shmat of a kept segment: %s", errname(errno));
			mine[slot] = NULL;
		} else {
			/* What is not its memory is a signal. */
			((volatile char *)mine[slot])[size_of_key(is_kept[slot] ? is_kept[slot] - 1 : n) - 1];
		}
		break;
	case 6:
		if ((id = get(KEY(n), 0, 0)) != -1)
			control("IPC_RMID", id, IPC_RMID, NULL);
		break;
	case 7:
		/* Private, removed at once or left behind, attached or not. */
		id = get(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
		if (id == -1)
			break;
		if (!mine[slot] && below(2)) {
			is_kept[slot] = 0;
			mine[slot] = TIMED("shmat", 0, shmat(id, NULL, 0));
			if (mine[slot] == FAILED)
				mine[slot] = NULL;
			else
				memset(mine[slot], 0x5e, PAGE);
		}
		if (below(100))
			control("IPC_RMID", id, IPC_RMID, NULL);
		break;
	case 8:
		if ((id = get(KEY(n), 0, 0)) != -1 && control("IPC_STAT", id, IPC_STAT, &ds) != -1)
			control("IPC_SET", id, IPC_SET, &ds);
		break;
	case 9:
		control("SHM_STAT", below(200), SHM_STAT, &ds);
		break;
	case 10:
		if (below(4) == 0)
			control("SHM_INFO", 0, SHM_INFO, &ds);
		break;
	default:
		id = get(KEY(0x1000 + below(KEPT)), 0, 0);
		if (control("IPC_STAT", id, IPC_STAT, &ds) == -1)
			complain("IPC_STAT of a kept segment: %s", errname(errno));
	}
}

_Noreturn static void *second_thread(void *with)
{
	seed((uintptr_t)with);
	for (;;) {
		park();
		step();
	}
}

static char numbers[3][24];

_Noreturn static void work(uint64_t from)
{
	pid_t child = 0;
	register_process(0);
	seed(from);
	int threads = below(4) == 0;
	if (threads) {
		pthread_t thread;
		place->threads = 2;
		if (pthread_create(&thread, NULL, second_thread, (void *)(uintptr_t)(from + 1000003)))
			place->threads = 1;
	}
	for (;;) {
		park();
		step();
		if (below(40))
			continue;
		if (child) {
			if (below(2))
				kill(child, SIGKILL);
			const struct timespec moment = {0, 100000};
			while (waitpid(child, NULL, WNOHANG) == 0) {
				park();
				nanosleep(&moment, NULL);
			}
			gone(child);
			child = 0;
		} else if (!threads && below(4) == 0) {
			snprintf(numbers[0], sizeof numbers[0], "%lu", (unsigned long)from + 7);
			place->pid = 0;
			execl("/proc/self/exe", "storm", "worker", numbers[0], (char *)NULL);
			_exit(4);
		} else {
			child = timed_fork();
			if (child == -1) {
				child = 0;
			} else if (child == 0) {
				uint64_t mixed = from ^ (uint64_t)below(1 << 30) << 20;
				waits = -1;
				register_process(threads);
				seed(mixed);
				for (unsigned steps = below(60); steps; steps--) {
					park();
					step();
				}
				place->pid = 0;
				_exit(0);
			}
		}
	}
}

/* The controller's. */

static pid_t workers[WORKERS];
static void *kept[KEPT];
static uint64_t next_seed;

static void start(int n)
{
	pid_t pid = timed_fork();
	if (pid == 0) {
		waits = -1;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(next_seed);
	}
	next_seed += 31;
	workers[n] = pid;
}

/* Orphans have become the controller's children. */
static void reap(void)
{
	int how;
	for (pid_t pid; (pid = waitpid(-1, &how, WNOHANG)) > 0;) {
		gone(pid);
		for (int n = 0; n < WORKERS; n++)
			if (workers[n] == pid) {
				complain("worker %d ended by itself: status %#x", pid, how);
				start(n);
			}
	}
}

static int descendants(pid_t of, pid_t *pids, int count, int room)
{
	char path[80], text[4096];
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", of, of);
	FILE *file = fopen(path, "r");
	if (!file)
		return count;
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[length] = 0;
	for (char *at = text, *end; count < room; at = end) {
		pid_t pid = strtol(at, &end, 10);
		if (end == at)
			break;
		pids[count++] = pid;
		count = descendants(pid, pids, count, room);
	}
	return count;
}

static int is_dead(pid_t pid)
{
	char path[80], text[400];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *file = fopen(path, "r");
	if (!file)
		return 1;
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[length] = 0;
	char *state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

static struct place *place_of(pid_t pid)
{
	for (int n = 0; n < PLACES; n++)
		if (board->places[n].pid == pid)
			return &board->places[n];
	return NULL;
}

static int is_parked(pid_t pid)
{
	struct place *its = place_of(pid);
	return its && its->parked == its->threads;
}

static void say_where(pid_t pid)
{
	static const char *const files[] = {"stat", "syscall", "wchan"};
	for (int n = 0; n < 3; n++) {
		char path[80], text[600];
		snprintf(path, sizeof path, "/proc/%d/%s", pid, files[n]);
		FILE *file = fopen(path, "r");
		if (!file)
			continue;
		size_t length = fread(text, 1, sizeof text - 1, file);
		fclose(file);
		printf("%.*s\n", (int)length, text);
	}
	for (int n = 0; n < PLACES; n++)
		if (board->places[n].pid)
			printf("place %d: %d, %d of %d parked, inside %d\n", n, board->places[n].pid, board->places[n].parked,
			       board->places[n].threads, board->places[n].inside);
}

/* Everybody between two calls. */
static int everybody_parks(pid_t *pids, int room)
{
	const struct timespec moment = {0, 1000000};
	long until = now() + 20000000000;
	board->pause = 1;
	for (;;) {
		int count = descendants(getpid(), pids, 0, room), alive = 0, parked = 0;
		pid_t late = 0;
		for (int n = 0; n < count; n++) {
			if (is_dead(pids[n]))
				continue;
			pids[alive++] = pids[n];
			if (is_parked(pids[n]))
				parked++;
			else
				late = pids[n];
		}
		if (parked == alive)
			return alive;
		if (now() > until) {
			complain("process %d does not come back from a call, or never began:", late);
			say_where(late);
			return -1;
		}
		nanosleep(&moment, NULL);
		reap();
	}
}

static void audit(void)
{
	pid_t pids[512];
	int alive = everybody_parks(pids, 512);
	if (alive < 0)
		return;
	struct shm_info info;
	/* What the dead left is mended by whoever changes the books next: takes the lock, as it needs a key. */
	int id = get(KEY(KEYS), PAGE, IPC_CREAT | IPC_EXCL | 0600);
	int error = errno;
	control("SHM_INFO", 0, SHM_INFO, &info);
	struct shminfo limits;
	control("IPC_INFO", 0, IPC_INFO, &limits);
	if (id == -1 && (error != ENOSPC || info.used_ids < (int)limits.shmmni))
		complain("with %d segments one can't be made: %s", info.used_ids, errname(error));
	if (id != -1 && control("IPC_RMID", id, IPC_RMID, NULL) == -1)
		complain("a segment can't be removed: %s", errname(errno));
	/* A killed process that has threads is a zombie while some of them still end: what it has attached counts until then. */
	const struct timespec moment = {0, 10000000};
	for (int tries = 0; tries < 2000; tries++) {
		list_segments();
		count_maps(getpid(), 0);
		for (int n = 0; n < alive; n++)
			count_maps(pids[n], place_of(pids[n])->beside);
		if (!differs())
			break;
		nanosleep(&moment, NULL);
		/* A child of one that was dying may have been missed: it was no longer there, and not yet with us. */
		if ((alive = everybody_parks(pids, 512)) < 0)
			return;
	}
	int orphans[IDS], orphan = 0;
	for (int n = 0; n < listed; n++)
		if (known[n].is_private && kill(known[n].creator, 0) == -1)
			orphans[orphan++] = known[n].id;
	compare();
	for (int n = 0; n < KEPT; n++) {
		id = get(KEY(0x1000 + n), 0, 0);
		uint64_t *words = shmat(id, NULL, SHM_RDONLY);
		if (words == FAILED) {
			complain("kept segment %d: %s", n, errname(errno));
		} else {
			look_at_kept(n, words);
			shmdt(words);
		}
	}
	run_check();
	/* As an administrator does. */
	while (orphan)
		if (control("IPC_RMID", orphans[--orphan], IPC_RMID, NULL) == -1)
			complain("IPC_RMID of what a killed process left: %s", errname(errno));
	/* Places of those that ended without a word. */
	for (int n = 0; n < PLACES; n++) {
		int lives = 0;
		for (int p = 0; p < alive; p++)
			lives |= pids[p] == board->places[n].pid;
		if (!lives)
			board->places[n].pid = 0;
	}
	board->pause = 0;
}

/* When all are dead, and what they left is removed. */
static void nothing_is_left(void)
{
	audit();
	for (int n = 0; n < listed; n++)
		shmctl(known[n].id, IPC_RMID, NULL);
	for (int n = 0; n < KEPT; n++)
		shmdt(kept[n]);
	list_segments();
	if (ids || told_ids || told_pages)
		complain("%d segments can't be removed; SHM_INFO: %d with %lu pages", ids, told_ids, told_pages);
	compare_files();
	run_check();
}

/* Until a process is in the middle of a call, if it soon is. */
static void await_call(pid_t pid)
{
	struct place *its = place_of(pid);
	long until = now() + 1000000;
	while (its && !its->inside && now() < until)
		;
	for (until = now() + below(20000); now() < until;)
		;
}

static pid_t stopped;

/* Noted before the signals: a call that overlaps a stop of its own process sees that. */
static void note_stop(void)
{
	struct place *its = place_of(stopped);
	if (its)
		its->stops++;
	board->stops++;
}

static void let_go_on(void)
{
	note_stop();
	kill(stopped, SIGCONT);
	stopped = 0;
}

int main(int argc, char **argv)
{
	directory = getenv("SHMGATE_NAMESPACE");
	if (argc == 3 && !strcmp(argv[1], "worker")) {
		board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(getenv("STORM_BOARD")), 0);
		wrong = &board->wrong;
		work(strtoul(argv[2], NULL, 10));
	}
	if (argc < 4 || !directory)
		return 2;
	uint64_t from = strtoull(argv[1], NULL, 10);
	long kills = atol(argv[2]);
	check = argv + 3;
	int fd = memfd_create("board", 0);
	if (fd == -1 || ftruncate(fd, sizeof *board) == -1)
		return 2;
	snprintf(numbers[1], sizeof numbers[1], "%d", fd);
	setenv("STORM_BOARD", numbers[1], 1);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	wrong = &board->wrong;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	seed(from);
	next_seed = from << 20;
	for (int n = 0; n < KEPT; n++) {
		uint64_t *words = shmat(shmget(KEY(0x1000 + n), size_of_key(n), IPC_CREAT | IPC_EXCL | 0600), NULL, 0);
		if (words == FAILED)
			return 2;
		kept[n] = words;
		for (size_t at = 0; at < size_of_key(n) / 8; at++)
			words[at] = word_of(n, at);
	}
	for (int n = 0; n < WORKERS; n++)
		start(n);

	long until = 0;
	for (long killed = 0; killed < kills && !board->wrong; killed++) {
		const struct timespec moment = {0, below(4) ? below(100000) : below(3000000)};
		nanosleep(&moment, NULL);
		reap();
		if (stopped && now() > until) {
			let_go_on();
		} else if (!stopped && below(8) == 0) {
			stopped = workers[below(WORKERS)];
			note_stop();
			kill(stopped, SIGSTOP);
			until = now() + (below(20) ? below(20000000) : 250000000);
		}
		int n = below(WORKERS);
		if (workers[n] == stopped && below(4)) {
			killed--;
			continue;
		}
		if (workers[n] == stopped) {
			stopped = 0;
			board->stops++;
		}
		if (below(4))
			await_call(workers[n]);
		kill(workers[n], SIGKILL);
		if (below(2)) /* else it is a zombie for a while */
			waitpid(workers[n], NULL, 0);
		gone(workers[n]);
		start(n);
		if (killed % 250 == 249 || killed == kills - 1) {
			if (stopped)
				let_go_on();
			audit();
		}
	}
	unsigned long calls = 0;
	for (int n = 0; n < PLACES; n++)
		calls += board->places[n].calls;
	for (int n = 0; n < WORKERS; n++)
		kill(workers[n], SIGKILL);
	board->pause = 0;
	while (waitpid(-1, NULL, 0) > 0)
		;
	if (!board->wrong)
		nothing_is_left();
	printf("%ld kills, %lu calls, longest %ld us, %d late\n", kills, calls, board->worst / 1000, board->late);
	/* On a busy machine whoever has a lock, ours or one of the kernel's, may be late itself. A lock that the dead keep shows up with
	 * every twentieth kill, and with all who wait for it. */
	return board->wrong ? 1 : board->late > kills / 200 ? 5 : 0;
}
