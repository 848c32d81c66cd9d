/* Threads whose first attaches fall together: each counts once. */
#include "trace.h"

#define THREADS 4
#define ROUNDS 500

static pthread_barrier_t start;
static int shmid;

static void *attach(void *argument)
{
	(void)argument;
	pthread_barrier_wait(&start);
	return shmat(shmid, NULL, 0);
}

/* In a process that has attached nothing yet: 0 if all is right. */
static int counts(void)
{
	pthread_t threads[THREADS];
	void *at[THREADS];
	pthread_barrier_init(&start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, attach, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], &at[i]);
	if (nattch(shmid) != THREADS)
		return 1;
	for (int i = 0; i < THREADS; i++)
		if (shmdt(at[i]) == -1)
			return 2;
	return nattch(shmid) ? 3 : 0;
}

int main(void)
{
	int wrong = 0;
	shmid = private_segment(PAGE, 0600);
	for (int i = 0; i < ROUNDS; i++) {
		int how;
		pid_t pid = fork();
		if (pid == 0)
			_exit(counts());
		waitpid(pid, &how, 0);
		wrong += how != 0;
	}
	printf("wrong: %d of %d\n", wrong, ROUNDS);
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
