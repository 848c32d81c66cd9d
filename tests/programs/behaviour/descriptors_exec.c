/* A program that is executed gets the host's descriptors and no other, also while a thread is in the middle of calls.
 * With an argument: how many there are. */
#include "trace.h"
#include <dirent.h>
#include <spawn.h>

static volatile int stop;

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* the folder's own, and the two names that each has */
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void *work(void *unused)
{
	for (int i = 0; !stop; i++) {
		shmget(0x5e000035, 1, 0600);
		if (i % 10 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	return unused;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return descriptors();
	char *again[] = {argv[0], "again", NULL}, *nothing[] = {NULL};
	pthread_t thread;
	int before = descriptors(), more = 0;
	shmget(0x5e000035, 1, 0600);
	seteuid(geteuid()); /* the journal is kept open from here on */
	pthread_create(&thread, NULL, work, NULL);
	for (int i = 0; i < 60; i++) {
		pid_t pid;
		int how = 0;
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, again, nothing))
			return 1;
		waitpid(pid, &how, 0);
		if (!WIFEXITED(how) || WEXITSTATUS(how) != before)
			more++;
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("executed with other descriptors: %d\n", more);
	for (int i = 0; i < 4; i++)
		T(shmget(0x5e000036, 1, 0600));
	return 0;
}
