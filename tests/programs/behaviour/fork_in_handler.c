/* A signal handler that forks and returns in both processes: each call was before or after it, never in the middle, and both go on with what
 * they have attached, whatever becomes of it in the other. */
#include "trace.h"
#include <stdatomic.h>
#include <sys/time.h>

#define FORKS 200
#define AT_ONCE 4

static struct {
	_Atomic unsigned rounds, wrong;
} *board;

static volatile sig_atomic_t is_child, is_armed, forks, children;

static void on_alarm(int number)
{
	(void)number;
	int error = errno;
	if (children < AT_ONCE) {
		pid_t pid = fork();
		is_child = pid == 0;
		forks += pid > 0;
		children += pid > 0;
	}
	is_armed = is_child;
	errno = error;
}

static void wrong(const char *what)
{
	if (board->wrong++ == 0)
		printf("%s: %s\n", is_child ? "child" : "parent", what);
}

/* What a round is at. */
static int shmid;
static unsigned stamp;
static volatile unsigned *at[2];

static void look(void)
{
	for (int n = 0; n < 2; n++)
		if (at[n] && *at[n] != stamp)
			wrong("another's memory");
}

static void detach(int n)
{
	if (at[n] && shmdt((void *)at[n]) == -1)
		wrong("shmdt");
	at[n] = NULL;
}

/* When the parent has let go of the segment, the child has it alone. */
static void end_child(void)
{
	const struct timespec moment = {0, 100000};
	struct shmid_ds ds;
	while (board->rounds <= stamp)
		nanosleep(&moment, NULL);
	unsigned count = !!at[0] + !!at[1];
	int is_there = shmctl(shmid, IPC_STAT, &ds) == 0;
	if (count && !is_there)
		wrong("a segment is gone that is attached");
	if (count && is_there && ds.shm_nattch != count)
		wrong("nattch");
	look();
	detach(0);
	detach(1);
	_exit(0);
}

static void attach(int n)
{
	void *address = shmat(shmid, NULL, 0);
	/* The parent may have removed it before its child came to this. */
	if (address == FAILED && !is_child)
		wrong("shmat");
	at[n] = address == FAILED ? NULL : address;
}

static void once(void)
{
	if (!is_armed && forks < FORKS) {
		is_armed = 1;
		const struct itimerval soon = {.it_value.tv_usec = 1 + rand() % 100};
		setitimer(ITIMER_REAL, &soon, NULL);
	}
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	if (id == -1)
		wrong("shmget");
	shmid = id;
	attach(0);
	if (at[0])
		*at[0] = stamp;
	if (shmctl(shmid, IPC_RMID, NULL) == -1 && !is_child)
		wrong("IPC_RMID");
	attach(1);
	if (is_child)
		end_child();
	look();
	for (int n = 0; n < 2; n++) {
		detach(n);
		if (is_child)
			end_child();
		look();
	}
	shmid = -1;
}

int main(void)
{
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct sigaction alarm = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &alarm, NULL);
	while (forks < FORKS || children) {
		once();
		if (is_child)
			_exit(0);
		board->rounds = ++stamp;
		while (!is_child && children && waitpid(-1, NULL, WNOHANG) > 0)
			children--;
		if (is_child)
			_exit(0);
	}
	struct shm_info info;
	T(shmctl(0, SHM_INFO, (struct shmid_ds *)&info));
	printf("%u wrong, %d segments left\n", board->wrong, info.used_ids);
	return 0;
}
