/* IPC_RMID: at once, or with the last detach. */
#include "trace.h"

int main(void)
{
	const key_t key = 0x5e000012;
	int shmid = (int)T(shmget(key, PAGE, IPC_CREAT | 0600));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmctl(-1, IPC_RMID, NULL));

	shmid = (int)T(shmget(key, PAGE, IPC_CREAT | 0600));
	char *at = TP(shmat(shmid, NULL, 0));
	strcpy(at, "kept");
	T(shmctl(shmid, IPC_RMID, NULL));
	show("marked", shmid);
	T(shmget(key, 0, 0));
	int next = (int)T(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600));
	printf("another: %d\n", next != shmid);
	T(shmctl(shmid, IPC_RMID, NULL));
	char *again = TP(shmat(shmid, NULL, 0));
	printf("by id: %s\n", again);
	T(shmdt(at));
	show("one left", shmid);
	T(shmdt(again));
	T(shmctl(shmid, IPC_STAT, &(struct shmid_ds){0}));
	T(shmat(shmid, NULL, 0));

	/* removed by a child that does not attach, used by one that does */
	at = TP(shmat(next, NULL, 0));
	pid_t pid = fork();
	if (pid == 0) {
		T(shmctl(next, IPC_RMID, (void *)-1)); /* the buffer does not matter */
		_exit(0);
	}
	ended("remover", pid);
	show("removed by the child", next);
	T(shmdt(at));
	T(shmctl(next, IPC_STAT, &(struct shmid_ds){0}));
	return 0;
}
