/* A storm of signals whose handler makes calls, in the middle of calls and of malloc. */
#include "../trace.h"
#include <sys/time.h>

#define STORM 2000

static volatile sig_atomic_t handled, bad;
static int shmid;

static void handler(int number)
{
	int before = errno;
	(void)number;
	void *at = shmat(shmid, NULL, 0);
	bad += at == FAILED || shmdt(at) == -1 || shmget(0x5e000063, PAGE, 0600) != shmid;
	bad += shmget(0x5e000064, PAGE, 0600) != -1;
	errno = before;
	handled++;
}

int main(void)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval storm = {{0, 100}, {0, 100}};
	struct shmid_ds ds;
	shmid = shmget(0x5e000063, PAGE, IPC_CREAT | 0600);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &storm, NULL);
	for (long i = 0; handled < STORM; i++) {
		void *memory = malloc(100 + i % 10000);
		void *at = shmat(shmid, NULL, SHM_RDONLY);
		errno = UNTOUCHED;
		bad += at == FAILED || shmctl(shmid, IPC_STAT, &ds) == -1 || errno != UNTOUCHED || shmdt(at) == -1;
		if (i % 16 == 0) {
			int own = shmget(IPC_PRIVATE, PAGE, 0600);
			bad += own == -1 || shmctl(own, IPC_RMID, NULL) == -1;
		}
		free(memory);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	printf("bad: %d, nattch %ld\n", (int)bad, nattch(shmid));
	return shmctl(shmid, IPC_RMID, NULL);
}
