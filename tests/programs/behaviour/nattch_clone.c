/* clone, and the system calls by which a program forks past libc: a child with memory of its own has its parent's attaches. */
#include "trace.h"
#include <dlfcn.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

static int shmid, gate[2];
static char stack[64 * 1024] __attribute__((aligned(16)));

/* Until the parent has looked. */
static void wait_for_parent(void)
{
	char byte;
	close(gate[1]);
	if (read(gate[0], &byte, 1) != 0)
		_exit(1);
}

static int wait_and_go(void *status)
{
	wait_for_parent();
	_exit((int)(intptr_t)status);
}

static int call_and_go(void *at)
{
	wait_for_parent();
	T(shmdt(at));
	printf("in the child: nattch %ld\n", nattch(shmid));
	fflush(stdout);
	_exit(0);
}

static void look(const char *how, pid_t pid)
{
	printf("%s: nattch %ld\n", how, nattch(shmid));
	fflush(stdout);
	close(gate[0]);
	close(gate[1]);
	ended(how, pid);
	printf("after it: nattch %ld\n", nattch(shmid));
	if (pipe(gate) == -1)
		exit(1);
}

/* A child that nobody in between sees: from its first call on it has its parent's attaches, less what that takes. */
static void unseen(const char *how, int (*first)(void *), void *at)
{
	long (*call)(long, ...) = (long (*)(long, ...))dlsym(dlopen("libc.so.6", RTLD_NOW), "syscall");
	int told[2];
	char byte;
	if (pipe(told) == -1)
		exit(1);
	fflush(stdout);
	pid_t pid = (pid_t)call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		if (first(at) == -1 || write(told[1], "x", 1) != 1)
			_exit(1);
		wait_and_go((void *)7);
	}
	if (read(told[0], &byte, 1) != 1)
		exit(1);
	close(told[0]);
	close(told[1]);
	look(how, pid);
}

static int detach(void *at)
{
	return shmdt(at);
}

static int unmap(void *at)
{
	return munmap(at, PAGE);
}

int main(void)
{
	shmid = private_segment(PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	if (pipe(gate) == -1)
		return 1;
	fflush(stdout);
	look("clone", clone(wait_and_go, stack + sizeof stack, SIGCHLD, (void *)3));
	fflush(stdout);
	look("clone, and a call", clone(call_and_go, stack + sizeof stack, SIGCHLD, at));
	fflush(stdout);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		wait_and_go((void *)4);
	look("SYS_clone", pid);
	struct clone_args args = {.exit_signal = SIGCHLD};
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		wait_and_go((void *)5);
	look("SYS_clone3", pid);
#ifdef SYS_fork
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0)
		call_and_go(at);
	look("SYS_fork", pid);
#endif
	/* one that shares its parent's memory has no attaches of its own */
	pid = clone(wait_and_go, stack + sizeof stack, CLONE_VM | SIGCHLD, (void *)6);
	look("CLONE_VM", pid);
	/* calls that fail, and others */
	T(syscall(SYS_clone3, NULL, sizeof args));
	T(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
	T(syscall(SYS_close, -1));
	printf("%d\n", syscall(SYS_getpid) == getpid());
	char *page = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("six arguments: %d\n", *page);
	char *also = TP(shmat(shmid, NULL, 0));
	unseen("detached by a child that nobody saw", detach, also);
	unseen("unmapped by a child that nobody saw", unmap, also);
	T(shmdt(also));
	printf("at the end: nattch %ld\n", nattch(shmid));
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
