/* What belongs to the host and is left alone: umask, directory, signal mask, descriptors, dispositions. */
#include "trace.h"
#include <dirent.h>
#include <sys/resource.h>

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -1; /* the folder's own */
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

int main(void)
{
	char before[4096], after[4096];
	sigset_t mask, now;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	umask(0077);
	int count = descriptors();
	printf("descriptors at the start: %d\n", count);
	int shmid = (int)T(shmget(0x5e000034, PAGE, IPC_CREAT | 0666));
	printf("the umask is not for segments: %#o\n", status(shmid).shm_perm.mode);
	printf("directory: %s\n", getcwd(before, sizeof before) ? "known" : "unknown");
	T(chdir("/"));
	void *at = TP(shmat(shmid, NULL, 0));
	T(shmdt(at));
	T(ftok("/", 1));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmat(shmid, NULL, 0));
	printf("directory: %s\n", getcwd(after, sizeof after));
	sigprocmask(SIG_SETMASK, NULL, &now);
	printf("mask: %d %d\n", sigismember(&now, SIGUSR1), sigismember(&now, SIGALRM));
	printf("umask: %#o\n", umask(022));
	printf("descriptors: %d more\n", descriptors() - count);
	int changed = 0;
	for (int number = 1; number < 32; number++) {
		struct sigaction action;
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			changed++;
	}
	printf("dispositions changed: %d\n", changed);
	printf("lowest free descriptor: %d\n", dup(0));
	return 0;
}
