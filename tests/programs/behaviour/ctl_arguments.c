/* Commands that are none, and the order of the checks. */
#include "trace.h"

int main(void)
{
	int shmid = private_segment(PAGE, 0600);
	struct shmid_ds ds = {0};
	T(shmctl(shmid, -1, &ds));
	T(shmctl(shmid, 99, &ds));
	T(shmctl(shmid, 99, NULL));
	T(shmctl(shmid, 0x7fffffff, NULL));
	T(shmctl(-1, 99, &ds));
	T(shmctl(-5, -7, NULL));
	T(shmctl(0x7fffffff, IPC_STAT, NULL));
	T(shmctl(0x7fffffff, IPC_RMID, NULL));
	T(shmctl(0x7fffffff, SHM_LOCK, NULL));
	/* commands of semaphores and messages are none of ours */
	for (int cmd = 4; cmd < 20; cmd++) {
		errno = UNTOUCHED;
		int result = shmctl(shmid, cmd, NULL);
		printf("cmd %d: %d %s\n", cmd, result, errname(errno));
	}
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
