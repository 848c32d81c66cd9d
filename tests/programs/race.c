/* Contestants for the last of something. Usage: race get|at PROCESSES THREADS ROUNDS
 *
 * In each round all contestants start together and make one call: shmget of a page, or shmat of one segment. They
 * hold what they got until everybody has tried. Prints a line a round: how many succeeded; other errnos than the
 * expected are named. */
#include "trace.h"

static struct shared {
	pthread_barrier_t barrier;
	int won[1024], odd;
} *shared;
static int attach, rounds, shmid;

static void *contest(void *unused)
{
	for (int round = 0; round < rounds; round++) {
		int got = -1;
		void *at = FAILED;
		pthread_barrier_wait(&shared->barrier);
		errno = 0;
		if (attach)
			at = shmat(shmid, NULL, 0);
		else
			got = shmget(IPC_PRIVATE, PAGE, 0600);
		if (at != FAILED || got != -1)
			__atomic_add_fetch(&shared->won[round], 1, __ATOMIC_SEQ_CST);
		else if (errno != (attach ? EMFILE : ENOSPC))
			shared->odd = errno;
		pthread_barrier_wait(&shared->barrier);
		if ((at != FAILED && shmdt(at) == -1) || (got != -1 && shmctl(got, IPC_RMID, NULL) == -1))
			shared->odd = errno;
	}
	return unused;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	int processes = atoi(argv[2]), threads = atoi(argv[3]);
	pthread_barrierattr_t attributes;
	pthread_t others[64];
	attach = argv[1][0] == 'a';
	rounds = atoi(argv[4]);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, (unsigned)(processes * threads));
	if (attach)
		shmid = private_segment(PAGE, 0600);
	for (int p = 0; p < processes; p++)
		if (fork() == 0) {
			for (int t = 1; t < threads; t++)
				pthread_create(&others[t], NULL, contest, NULL);
			contest(NULL);
			for (int t = 1; t < threads; t++)
				pthread_join(others[t], NULL);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	for (int round = 0; round < rounds; round++)
		printf("%d\n", shared->won[round]);
	if (shared->odd)
		printf("odd: %s\n", errname(shared->odd));
	return attach && shmctl(shmid, IPC_RMID, NULL);
}
