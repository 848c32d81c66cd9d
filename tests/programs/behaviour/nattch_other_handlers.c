/* A library whose fork handlers were there before any other's: they run next to the fork in the parent, and first in the child. What they
 * attach and detach counts as what the program does, of a removed segment too, and takes little of the stack. */
#include "trace.h"
#include <sys/resource.h>

static int shmid;
static char *also;
static void (*before)(void), (*in_child)(void);

static void attach(void)
{
	also = shmat(shmid, NULL, 0);
}

static void detach(void)
{
	shmdt(also);
}

static void look(void)
{
	nattch(shmid);
}

static void prepare(void)
{
	if (before)
		before();
}

static void child(void)
{
	if (in_child)
		in_child();
}

static void before_constructors(void)
{
	pthread_atfork(prepare, NULL, child);
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = before_constructors;

static void trace(const char *what, void (*parents)(void), void (*childs)(void))
{
	int told[2], gate[2];
	char byte;
	char *at = shmat(shmid, NULL, 0);
	if (parents != attach)
		attach();
	before = parents;
	in_child = childs;
	if (pipe(told) == -1 || pipe(gate) == -1)
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		close(gate[1]);
		_exit(write(told[1], "x", 1) != 1 || read(gate[0], &byte, 1) != 0);
	}
	close(told[1]);
	before = in_child = NULL;
	if (read(told[0], &byte, 1) != 1)
		exit(1);
	printf("%s: nattch %ld", what, nattch(shmid));
	close(gate[1]);
	waitpid(pid, NULL, 0);
	printf(", then %ld", nattch(shmid));
	close(gate[0]);
	close(told[0]);
	shmdt(at);
	if (parents != detach)
		detach();
	printf(", then %ld\n", nattch(shmid));
}

static void have_no_descriptor(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0});
}

/* In the child, which can open nothing by which to be counted anew, memory stays as it was when all others let go of it. */
static void trace_crowded(void)
{
	int told[2], gate[2], status;
	char byte;
	char *at = shmat(shmid, NULL, 0);
	*at = 'x';
	before = attach;
	in_child = have_no_descriptor;
	if (pipe(told) == -1 || pipe(gate) == -1)
		exit(1);
	pid_t pid = fork();
	if (pid == 0)
		_exit(write(told[1], "x", 1) != 1 || read(gate[0], &byte, 1) != 1 || *at != 'x');
	before = in_child = NULL;
	close(told[1]);
	if (read(told[0], &byte, 1) != 1)
		exit(1);
	T(shmctl(shmid, IPC_RMID, NULL));
	shmdt(also);
	shmdt(at);
	if (write(gate[1], "x", 1) != 1)
		exit(1);
	waitpid(pid, &status, 0);
	printf("no descriptor in the child: %d\n", status);
}

int main(void)
{
	setrlimit(RLIMIT_STACK, &(struct rlimit){256 << 10, RLIM_INFINITY});
	shmid = private_segment(PAGE, 0600);
	trace("no handler", NULL, NULL);
	trace("attached before the fork", attach, NULL);
	trace("detached before the fork", detach, NULL);
	trace("attached in the child", NULL, attach);
	trace("detached in the child", NULL, detach);
	trace("looked at in the child", NULL, look);
	trace("all of it", attach, detach);
	char *held = shmat(shmid, NULL, 0);
	T(shmctl(shmid, IPC_RMID, NULL));
	trace("removed, and no handler", NULL, NULL);
	trace("removed, and attached before the fork", attach, NULL);
	trace("removed, and detached in the child", NULL, detach);
	T(shmdt(held));
	shmid = private_segment(PAGE, 0600);
	trace_crowded();
	return 0;
}
