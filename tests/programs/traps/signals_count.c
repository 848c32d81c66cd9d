/* A storm of signals whose handler makes a call, in the middle of calls. Prints how many calls were made in all, and how many
 * the gate has counted. */
#include "../trace.h"
#include <dlfcn.h>
#include <sys/time.h>

#define STORM 1000

static volatile sig_atomic_t handled;

static void handler(int number)
{
	(void)number;
	int before = errno;
	shmget(0x5e00007a, PAGE, 0600);
	errno = before;
	handled++;
}

int main(void)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval storm = {{0, 50}, {0, 50}};
	uint64_t counters[5] = {0};
	long made = 0;
	int (*count)(int, void *);
	*(void **)&count = dlsym(RTLD_DEFAULT, "shmgate_counters");
	if (!count)
		return 2;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &storm, NULL);
	for (; handled < STORM; made++)
		shmget(0x5e00007b, PAGE, 0600);
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	signal(SIGALRM, SIG_IGN);
	count(0, counters);
	printf("%ld %lu\n", made + handled, counters[0]);
	return 0;
}
