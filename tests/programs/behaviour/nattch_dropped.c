/* Root that attaches, becomes somebody else for good, and forks, as many daemons do: what it has stays attached, and its children count. */
#include "trace.h"
#define STAT_ANY 15

static int shmid;

/* By index: the new user may not read it. */
static long attached(void)
{
	struct shmid_ds ds = {0};
	return shmctl(shmid & 0x7fff, STAT_ANY, &ds) == shmid ? (long)ds.shm_nattch : -1;
}

int main(void)
{
	pid_t children[5];
	if (geteuid() != 0) {
		puts("not root");
		return 0;
	}
	shmid = private_segment(PAGE, 0600);
	char *at = TP(shmat(shmid, NULL, 0));
	T(setresuid(65534, 65534, 65534));
	T(shmat(shmid, NULL, 0));
	at[0] = 'x';
	for (int i = 0; i < 5; i++)
		if ((children[i] = fork()) == 0)
			for (;;)
				pause();
	printf("with five children: %ld\n", attached());
	pid_t child = fork();
	if (child == 0) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			printf("in a grandchild: %ld\n", attached());
			T(shmdt(at));
			printf("detached there: %ld\n", attached());
			_exit(0);
		}
		ended("grandchild", grandchild);
		_exit(0);
	}
	ended("child", child);
	for (int i = 0; i < 5; i++) {
		kill(children[i], SIGKILL);
		ended("child", children[i]);
	}
	printf("without them: %ld\n", attached());
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmdt(at));
	return 0;
}
