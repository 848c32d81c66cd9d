/* Two threads that fork at the same time: what the children of one keep open does not keep those of the other alive. */
#include "trace.h"

#define CHILDREN 150

static pid_t children[2][CHILDREN];
static int gate[2];

static void *fork_all(void *argument)
{
	pid_t *mine = argument;
	for (int i = 0; i < CHILDREN; i++) {
		mine[i] = fork();
		if (mine[i] == 0) {
			char byte;
			close(gate[1]);
			_exit(read(gate[0], &byte, 1) != 0);
		}
	}
	return NULL;
}

static int killed(const pid_t *theirs)
{
	int count = 0;
	for (int i = 0; i < CHILDREN; i++)
		kill(theirs[i], SIGKILL);
	for (int i = 0; i < CHILDREN; i++)
		count += waitpid(theirs[i], NULL, 0) == theirs[i];
	return count;
}

int main(void)
{
	pthread_t threads[2];
	int shmid = private_segment(PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	if (pipe(gate) == -1)
		return 1;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, fork_all, children[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("all alive: nattch %ld\n", nattch(shmid));
	for (int i = 0; i < 2; i++) {
		int dead = killed(children[i]);
		printf("killed %d: nattch %ld\n", dead, nattch(shmid));
	}
	T(shmdt(at));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
