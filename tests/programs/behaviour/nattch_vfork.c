/* vfork and posix_spawn children share our memory: no attach is counted twice, none is lost. */
#include "trace.h"
#include <spawn.h>

extern char **environ;

int main(void)
{
	int shmid = private_segment(PAGE, 0600);
	volatile int other = -1;
	char *volatile at = TP(shmat(shmid, NULL, 0));
	char *true_argv[] = {"true", NULL};
	volatile long during = -1;
	pid_t pid = vfork();
	if (pid == 0) {
		during = nattch(shmid);
		_exit(0);
	}
	ended("vfork", pid);
	printf("during %ld, after %ld\n", during, nattch(shmid));
	/* calls in the vfork child take effect in the parent's memory */
	pid = vfork();
	if (pid == 0) {
		other = shmget(0x5e000020, PAGE, IPC_CREAT | 0600);
		_exit(shmdt(at) == 0 ? 0 : 1);
	}
	ended("detach in vfork", pid);
	printf("after %ld, key found: %d\n", nattch(shmid), shmget(0x5e000020, 0, 0) == other);
	T(shmdt(at));
	at = TP(shmat(shmid, NULL, 0));
	static int i; /* not clobbered by vfork */
	for (i = 0; i < 20; i++) {
		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", true_argv);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}
	printf("after exec %ld\n", nattch(shmid));
	int failed = posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ);
	printf("posix_spawn: %d\n", failed);
	ended("true", pid);
	printf("posix_spawn of nothing: %s\n",
	       errname(posix_spawn(&pid, "/nonexistent", NULL, NULL, true_argv, environ)));
	printf("system: %d\n", system("exit 5") >> 8);
	printf("after %ld\n", nattch(shmid));
	T(shmdt(at));
	T(shmctl(other, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
