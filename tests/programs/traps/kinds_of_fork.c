/* A call in the parent and one in a child of each kind. Prints: kind, parent, child; the keys tell the records apart.
 * fork runs the handlers of pthread_atfork; _Fork, raw clone and vfork do not; vfork shares the memory. */
#include "../trace.h"
#include <sched.h>
#include <sys/syscall.h>

static int key = 0x5e000100;

static int child_calls(void)
{
	return shmget(key + 1, 1, 0600) == -1 && errno == ENOENT ? 0 : 1;
}

static int in_clone(void *unused)
{
	(void)unused;
	return child_calls();
}

static pid_t with_vfork(void)
{
	pid_t pid = vfork();
	if (pid == 0)
		_exit(child_calls());
	return pid;
}

static pid_t start(int kind)
{
	static char stack[256 * 1024] __attribute__((aligned(16)));
	pid_t pid = -1;
	switch (kind) {
	case 0: pid = fork(); break;
	case 1: pid = _Fork(); break;
	case 2: pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); break;
	case 3: return with_vfork();
	case 4: return clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	case 5: return clone(in_clone, stack + sizeof stack, SIGCHLD, NULL);
	}
	if (pid == 0)
		_exit(child_calls());
	return pid;
}

int main(void)
{
	static const char *const kinds[] = {"fork", "_Fork", "raw-clone", "vfork", "clone-vm-vfork", "clone"};
	for (int kind = 0; kind < 6; kind++, key += 16) {
		int how = -1;
		shmget(key, 1, 0600);
		pid_t pid = start(kind);
		waitpid(pid, &how, 0);
		shmget(key + 2, 1, 0600);
		printf("%s %#x %d %d %d\n", kinds[kind], key, getpid(), pid, how);
	}
	return 0;
}
