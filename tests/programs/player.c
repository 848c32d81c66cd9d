/* A random script with several processes, one call at a time: the same seed gives the same script.
 *
 * A director draws each step and sends it to a worker by a pipe; the worker answers, the director prints. What
 * is drawn depends on the seed and on answers, so equal answers give equal scripts. Ids are printed by order of
 * first appearance, pids by worker; addresses are a worker's own attaches, or places in an area that nothing
 * else is mapped to. With ONE_USER in the environment no worker changes its euid, with LATE_DEATHS
 * nobody looks at shm_lpid. Usage: player SEED STEPS */
#include "trace.h"
#include <poll.h>
#include <sys/syscall.h>

enum { GET, ATTACH, DETACH, STAT, SET, REMOVE, STAT_INDEX, STAT_ANY, INFO, LIMITS, LOCK, UNLOCK, ODD, PEEK, POKE,
       FORK, EXEC, EUID, LEAVE, KILL, OPS };

#define WORKERS 24 /* that may ever live in one script */
#define AREA ((char *)0x200000000000UL)
#define STAT_ANY_CMD 15

struct request {
	int op, a, b;
	long size;
	char *at;
};

struct reply {
	long result;
	int number; /* errno, and UNTOUCHED where it was */
	pid_t pid;
	char byte;
	struct shmid_ds ds;
	struct shm_info info;
};

/* -- the worker -- */

/* The pipes have fixed numbers: a worker that went through exec can still fork another. */
#define REQUESTS(w, end) (100 + 4 * (w) + (end))
#define REPLIES(w, end) (102 + 4 * (w) + (end))

static void pipe_at(int reader, int writer)
{
	int ends[2];
	if (pipe(ends) == -1 || dup2(ends[0], reader) == -1 || dup2(ends[1], writer) == -1)
		exit(2);
	close(ends[0]);
	close(ends[1]);
}

static char peek(const char *at, long *result)
{
	int ends[2];
	char byte = 0;
	if (pipe(ends) == -1)
		_exit(3);
	*result = write(ends[1], at, 1); /* EFAULT instead of SIGSEGV */
	if (*result == 1 && read(ends[0], &byte, 1) != 1)
		_exit(3);
	int number = errno;
	close(ends[0]);
	close(ends[1]);
	errno = number;
	return byte;
}

static long poke(char *at, char byte)
{
	int ends[2];
	if (pipe(ends) == -1 || write(ends[1], &byte, 1) != 1)
		_exit(3);
	long result = read(ends[0], at, 1);
	int number = errno;
	close(ends[0]);
	close(ends[1]);
	errno = number;
	return result;
}

static void perform(int *self, char *argv0, struct request *q, struct reply *r)
{
	char text[16];
	errno = UNTOUCHED;
	switch (q->op) {
	case GET: r->result = shmget(q->a, (size_t)q->size, q->b); break;
	case ATTACH: r->result = (long)shmat(q->a, q->at, q->b); break;
	case DETACH: r->result = shmdt(q->at); break;
	case STAT: r->result = shmctl(q->a, IPC_STAT, q->b ? NULL : &r->ds); break;
	case REMOVE: r->result = shmctl(q->a, IPC_RMID, NULL); break;
	case STAT_INDEX: r->result = shmctl(q->a, SHM_STAT, &r->ds); break;
	case STAT_ANY: r->result = shmctl(q->a, STAT_ANY_CMD, &r->ds); break;
	case INFO: r->result = shmctl(q->a, SHM_INFO, (struct shmid_ds *)&r->info); break;
	case LIMITS: r->result = shmctl(q->a, IPC_INFO, &r->ds); break;
	case LOCK: r->result = shmctl(q->a, SHM_LOCK, NULL); break;
	case UNLOCK: r->result = shmctl(q->a, SHM_UNLOCK, NULL); break;
	case ODD: r->result = shmctl(q->a, q->b, NULL); break;
	case PEEK: r->byte = peek(q->at, &r->result); break;
	case POKE: r->result = poke(q->at, (char)q->b); break;
	case EUID: r->result = seteuid((uid_t)q->a); break;
	case SET: {
		struct shmid_ds ds = {0};
		ds.shm_perm.uid = geteuid();
		ds.shm_perm.gid = getegid();
		ds.shm_perm.mode = (unsigned short)q->b;
		errno = UNTOUCHED;
		r->result = shmctl(q->a, IPC_SET, &ds);
		break;
	}
	case FORK:
		r->result = r->pid = fork();
		if (r->result == 0)
			*self = q->a;
		break;
	case EXEC:
		snprintf(text, sizeof text, "%d", *self);
		execl("/proc/self/exe", argv0, "0", "0", text, (char *)NULL);
		break;
	case LEAVE: q->a ? exit(0) : _exit(0);
	}
	r->number = errno;
}

static void work(int self, char *argv0)
{
	struct request q;
	while (read(REQUESTS(self, 0), &q, sizeof q) == (ssize_t)sizeof q) {
		struct reply r;
		int before = self;
		memset(&r, 0, sizeof r);
		perform(&self, argv0, &q, &r);
		/* a new worker has its own pipes and answers nothing */
		if (self == before && write(REPLIES(self, 1), &r, sizeof r) != (ssize_t)sizeof r)
			_exit(4);
	}
	_exit(0);
}

/* -- the director -- */

static struct worker {
	pid_t pid;
	int alive, euid_changed, attaches;
	char *attached[256]; /* at addresses the kernel chose; a detached one is gone from here */
	char *placed[4];     /* the last ones in the area, detached or not */
	int places;
} workers[WORKERS];
static int born, living, shmids[4096], ids_seen;
static uint64_t state;

static unsigned draw(unsigned bound)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 24) % bound);
}

#define PICK(array) (array[draw(sizeof array / sizeof *array)])

static int id_name(int shmid)
{
	for (int i = 0; i < ids_seen; i++)
		if (shmids[i] == shmid)
			return i;
	shmids[ids_seen] = shmid;
	return ids_seen++;
}

static const char *pid_name(pid_t pid)
{
	static char names[2][8];
	static int which;
	char *name = names[which ^= 1];
	strcpy(name, pid ? "?" : "0");
	for (int i = 0; i < born; i++)
		if (workers[i].pid == pid)
			snprintf(name, sizeof names[0], "w%d", i);
	return name;
}

static void answer_of(int w, struct request *q, struct reply *r)
{
	if (write(REQUESTS(w, 1), q, sizeof *q) != (ssize_t)sizeof *q ||
	    read(REPLIES(w, 0), r, sizeof *r) != (ssize_t)sizeof *r) {
		printf("worker %d is lost\n", w);
		exit(2);
	}
}

/* Its end, when its memory is already given back. */
static void gone(int w, int pidfd)
{
	struct pollfd poll_for = {.fd = pidfd, .events = POLLIN};
	if (poll(&poll_for, 1, 10000) != 1)
		printf("worker %d does not die\n", w);
	close(pidfd);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	workers[w].alive = 0;
	living--;
}

static void show_status(struct shmid_ds *ds)
{
	printf(" {key %x mode %o own %d segsz %zu nattch %lu cpid %s lpid %s a%d d%d c%d}",
	       (unsigned)ds->shm_perm.__key, ds->shm_perm.mode, ds->shm_perm.uid == ds->shm_perm.cuid, ds->shm_segsz,
	       (unsigned long)ds->shm_nattch, pid_name(ds->shm_cpid), getenv("LATE_DEATHS") ? "-" : pid_name(ds->shm_lpid),
	       ds->shm_atime != 0,
	       ds->shm_dtime != 0, ds->shm_ctime != 0);
}

static int some_id(void)
{
	unsigned kind = draw(12);
	if (ids_seen == 0 || kind == 0)
		return (int[]){-1, 0x7fff0000, 77, -2}[draw(4)];
	/* recent ones more often than old ones */
	int window = kind < 8 && ids_seen > 6 ? 6 : ids_seen;
	return shmids[ids_seen - 1 - (int)draw((unsigned)window)];
}

static char *place(struct worker *me)
{
	const long odd[] = {0, 0, 0, 0, 0, 0, 0, 1, 123, PAGE - 1};
	if (me->places && draw(4))
		return me->placed[draw(me->places < 4 ? (unsigned)me->places : 4)] + (draw(6) ? 0 : PAGE);
	return AREA + (long)draw(12) * 2 * PAGE + PICK(odd);
}

static int draw_op(void)
{
	const int weights[OPS] = {[GET] = 16, [ATTACH] = 18, [DETACH] = 12, [STAT] = 12, [SET] = 3, [REMOVE] = 6,
				  [STAT_INDEX] = 3, [STAT_ANY] = 2, [INFO] = 2, [LIMITS] = 1, [LOCK] = 2, [UNLOCK] = 1,
				  [ODD] = 1, [PEEK] = 6, [POKE] = 6, [FORK] = 4, [EXEC] = 1, [EUID] = 2, [LEAVE] = 1,
				  [KILL] = 2};
	int total = 0, op = 0;
	for (int i = 0; i < OPS; i++)
		total += weights[i];
	for (int at = (int)draw((unsigned)total); at >= weights[op]; op++)
		at -= weights[op];
	return op;
}

static void step(int number)
{
	static const int get_flags[] = {0600, 0, IPC_CREAT | 0600, IPC_CREAT | 0600, IPC_CREAT | 0644, IPC_CREAT | 0666,
					IPC_CREAT | IPC_EXCL | 0600, IPC_EXCL, IPC_CREAT, IPC_CREAT | 0400, 0444,
					IPC_CREAT | SHM_NORESERVE | 0600, 0x400000 | IPC_CREAT | 0600};
	static const int at_flags[] = {0, 0, 0, SHM_RDONLY, SHM_RND, SHM_RND | SHM_RDONLY, SHM_EXEC, SHM_REMAP,
				       SHM_REMAP | SHM_RND, 0x100000};
	static const long sizes[] = {0, 1, 4095, 4096, 4097, 10000, 16384, 65536};
	struct request q = {.op = draw_op()};
	struct reply r = {0};
	int w;
	do
		w = (int)draw((unsigned)born);
	while (!workers[w].alive);
	struct worker *me = &workers[w];
	int own = me->attaches ? (int)draw((unsigned)me->attaches) : -1;

	switch (q.op) {
	case GET:
		q.a = draw(4) ? 0x5e000000 + (int)draw(5) : IPC_PRIVATE;
		q.size = PICK(sizes);
		q.b = PICK(get_flags);
		break;
	case ATTACH:
		q.a = some_id();
		q.b = PICK(at_flags);
		q.at = draw(2) && me->attaches < 250 ? NULL : place(me);
		break;
	case DETACH: /* an address that the kernel chose only while it is attached: it may choose it again */
		q.at = own >= 0 && draw(2) ? me->attached[own] + (draw(8) ? 0 : 8) : place(me);
		break;
	case PEEK:
	case POKE:
		q.at = own >= 0 && draw(2) ? me->attached[own] : place(me);
		q.b = 1 + (int)draw(100);
		break;
	case SET: q.a = some_id(), q.b = (int[]){0600, 0644, 0, 0777, 0400}[draw(5)]; break;
	case STAT: q.a = some_id(), q.b = !draw(10); break;
	case STAT_INDEX: case STAT_ANY: q.a = (int)draw(8) - 1; break;
	case INFO: case LIMITS: q.a = (int)draw(4) - 1; break;
	case ODD: q.a = some_id(), q.b = (int[]){-1, 4, 10, 16, 99}[draw(5)]; break;
	case FORK:
		if (born == WORKERS || living > 5)
			return;
		q.a = born;
		break;
	case EXEC:
		if (me->euid_changed) /* that would be a privileged start, without preload */
			return;
		break;
	case EUID:
		if (getuid() != 0 || getenv("ONE_USER"))
			return;
		q.a = me->euid_changed ? 0 : 65534;
		break;
	case LEAVE: case KILL:
		if (living < 2)
			return;
		q.a = (int)draw(2);
		break;
	default: q.a = some_id(); break;
	}

	static const char *const names[OPS] = {"shmget", "shmat", "shmdt", "IPC_STAT", "IPC_SET", "IPC_RMID", "SHM_STAT",
					       "SHM_STAT_ANY", "SHM_INFO", "IPC_INFO", "SHM_LOCK", "SHM_UNLOCK", "shmctl",
					       "peek", "poke", "fork", "exec", "seteuid", "exit", "kill"};
	printf("%d w%d %s", number, w, names[q.op]);
	if (q.op == GET)
		printf(" key %x size %ld flags %o", (unsigned)q.a, q.size, (unsigned)q.b);
	else if (q.op != FORK && q.op != DETACH && q.op != PEEK && q.op != POKE)
		printf(" %d %o", q.op >= STAT_INDEX && q.op <= LIMITS ? q.a : q.op >= EXEC || q.a < 0 ? q.a : id_name(q.a), (unsigned)q.b);
	if (q.at >= AREA && q.at < AREA + (1 << 24))
		printf(" area+%#lx", q.at - AREA);
	else if (q.at)
		printf(" attach %d", own);

	if (q.op == LEAVE || q.op == KILL) {
		int pidfd = (int)syscall(SYS_pidfd_open, me->pid, 0);
		if (q.op == KILL)
			kill(me->pid, SIGKILL);
		else if (write(REQUESTS(w, 1), &q, sizeof q) == -1)
			exit(2);
		gone(w, pidfd);
		puts("");
		return;
	}
	answer_of(w, &q, &r);
	if (q.op == EXEC) {
		me->attaches = 0;
		puts("");
		return;
	}

	if (r.result == -1) {
		printf(" = %s\n", errname(r.number));
		return;
	}
	if (q.op == GET || q.op == STAT_INDEX || q.op == STAT_ANY)
		printf(" = id %d", id_name((int)r.result));
	else if (q.op == ATTACH && q.at)
		printf(" = area+%#lx", (me->placed[me->places++ % 4] = (char *)r.result) - AREA);
	else if (q.op == ATTACH)
		printf(" = attach %d", me->attaches), me->attached[me->attaches++] = (char *)r.result;
	else if (q.op == FORK) {
		workers[born] = *me;
		workers[born].pid = r.pid;
		printf(" = w%d", born++);
		living++;
	} else
		printf(" = %ld", r.result);
	if (q.op == STAT || q.op == STAT_INDEX || q.op == STAT_ANY)
		show_status(&r.ds);
	if (q.op == INFO)
		printf(" {used %d total %lu}", r.info.used_ids, r.info.shm_tot);
	if (q.op == PEEK)
		printf(" byte %d", r.byte);
	if (q.op == EUID)
		me->euid_changed = !me->euid_changed;
	if (q.op == DETACH && own >= 0 && q.at == me->attached[own])
		me->attached[own] = me->attached[--me->attaches];
	puts(r.number == UNTOUCHED || q.op == FORK || q.op == PEEK || q.op == POKE ? "" : " errno was changed");
}

int main(int argc, char **argv)
{
	if (argc == 4) { /* after exec: the step is done now */
		int self = atoi(argv[3]);
		struct reply r = {0};
		if (write(REPLIES(self, 1), &r, sizeof r) != (ssize_t)sizeof r)
			return 4;
		work(self, argv[0]);
	}
	alarm(30);
	setvbuf(stdout, NULL, _IOFBF, 1 << 16); /* nothing is written before the first workers are there */
	state = (argc > 1 ? strtoull(argv[1], NULL, 0) : 1) * 0x9e3779b97f4a7c15UL + 0x1234567;
	int steps = argc > 2 ? atoi(argv[2]) : 100;
	signal(SIGCHLD, SIG_DFL);
	for (int w = 0; w < WORKERS; w++) {
		pipe_at(REQUESTS(w, 0), REQUESTS(w, 1));
		pipe_at(REPLIES(w, 0), REPLIES(w, 1));
	}
	for (; born < 2; born++, living++) {
		workers[born].alive = 1;
		workers[born].pid = fork();
		if (workers[born].pid == 0) {
			signal(SIGCHLD, SIG_IGN); /* a worker's own children need no reaping */
			work(born, argv[0]);
		}
	}
	for (int number = 0; number < steps; number++)
		step(number);
	for (int w = 0; w < born; w++)
		if (workers[w].alive)
			kill(workers[w].pid, SIGKILL);
	return 0;
}
