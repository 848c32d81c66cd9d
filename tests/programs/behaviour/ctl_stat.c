/* IPC_STAT: each field after each call. */
#include "trace.h"

int main(void)
{
	int shmid = (int)T(shmget(0x5e000010, 12345, IPC_CREAT | 0640));
	show("new", shmid);
	char *at = TP(shmat(shmid, NULL, 0));
	show("attached", shmid);
	pid_t pid = fork();
	if (pid == 0) {
		show("in the child", shmid);
		T(shmdt(at));
		show("detached in the child", shmid);
		_exit(0);
	}
	ended("child", pid);
	show("after the child", shmid);
	printf("last: %d\n", status(shmid).shm_lpid == pid);
	T(shmdt(at));
	show("detached", shmid);
	struct shmid_ds ds = status(shmid);
	printf("in order: %d\n", ds.shm_ctime <= ds.shm_atime && ds.shm_atime <= ds.shm_dtime);
	T(shmctl(shmid, IPC_STAT, (struct shmid_ds *)8));
	T(shmctl(shmid, IPC_STAT, NULL));
	T(shmctl(shmid ^ 0x8000, IPC_STAT, NULL));
	T(shmctl(-1, IPC_STAT, &ds));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmctl(shmid, IPC_STAT, &ds));
	return 0;
}
