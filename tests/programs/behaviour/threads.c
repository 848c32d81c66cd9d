/* Threads that create, attach, detach and remove at the same time: each sees its own. */
#include "trace.h"

#define THREADS 8
#define ROUNDS 200

static int failures;
static int shared_id;

static void *work(void *argument)
{
	long number = (long)argument;
	for (int i = 0; i < ROUNDS; i++) {
		errno = UNTOUCHED;
		int shmid = shmget(IPC_PRIVATE, PAGE * (1 + i % 3), IPC_CREAT | 0600);
		long *at = shmat(shmid, NULL, 0);
		long *shared = shmat(shared_id, NULL, 0);
		int good = shmid != -1 && at != FAILED && shared != FAILED && errno == UNTOUCHED;
		if (good) {
			*at = number;
			shared[number]++;
			good = *at == number && shmctl(shmid, IPC_RMID, NULL) == 0 && shmdt(at) == 0 && shmdt(shared) == 0;
		}
		/* errors are a thread's own too */
		good = good && shmdt(&number) == -1 && errno == EINVAL && shmget(0x5e000099, 1, 0) == -1 && errno == ENOENT;
		if (!good)
			__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	shared_id = private_segment(PAGE, 0600);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	long *shared = shmat(shared_id, NULL, SHM_RDONLY), sum = 0;
	for (int i = 0; i < THREADS; i++)
		sum += shared[i];
	printf("failures %d, sum %ld, nattch %ld\n", failures, sum, nattch(shared_id));
	T(shmctl(shared_id, IPC_RMID, NULL));
	return failures != 0;
}
