/* Threads that attach and detach one segment, where one comes to lie where another has just been: shmdt takes its own attach and no later one. */
#include "trace.h"
#include <stdatomic.h>

#define THREADS 4
#define ROUNDS 20000

static int shmid;
static _Atomic unsigned wrong;

static void *go_round(void *unused)
{
	for (int round = 0; round < ROUNDS; round++) {
		char *at = shmat(shmid, NULL, 0);
		if (at == FAILED || mprotect(at, PAGE, PROT_READ | PROT_WRITE) == -1 || shmdt(at) == -1)
			wrong++;
	}
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS];
	shmid = private_segment(2 * PAGE, 0600);
	/* From here on attaches may be in pieces. */
	char *at = TP(shmat(shmid, NULL, 0));
	T(munmap(at, PAGE));
	T(shmdt(at));
	for (int n = 0; n < THREADS; n++)
		pthread_create(&threads[n], NULL, go_round, NULL);
	for (int n = 0; n < THREADS; n++)
		pthread_join(threads[n], NULL);
	printf("%u wrong, nattch %ld\n", wrong, nattch(shmid));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
