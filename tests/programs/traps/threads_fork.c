/* Threads that are in the middle of calls while the process forks; the children make calls too. */
#include "../trace.h"

#define THREADS 4
#define FORKS 150

static volatile int stop;
static int shmid;

static int calls(void)
{
	struct shmid_ds ds;
	void *at = shmat(shmid, NULL, 0);
	int own = shmget(IPC_PRIVATE, PAGE, 0600);
	return at != FAILED && own != -1 && shmctl(shmid, IPC_STAT, &ds) == 0 && shmdt(at) == 0 &&
	       shmctl(own, IPC_RMID, NULL) == 0 && shmget(0x5e000062, 1, 0) == -1;
}

static void *work(void *unused)
{
	while (!stop)
		if (!calls())
			abort();
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS];
	int bad = 0;
	shmid = private_segment(PAGE, 0600);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < FORKS; i++) {
		int how;
		pid_t pid = fork();
		if (pid == 0) {
			alarm(20); /* a deadlock ends here */
			_exit(calls() && calls() ? 0 : 1);
		}
		waitpid(pid, &how, 0);
		bad += how != 0;
	}
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("bad children: %d, nattch %ld\n", bad, nattch(shmid));
	return shmctl(shmid, IPC_RMID, NULL);
}
