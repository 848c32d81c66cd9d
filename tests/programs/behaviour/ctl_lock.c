/* SHM_LOCK and SHM_UNLOCK: the mode bit, and the limits of a user. */
#include "trace.h"
#include <sys/resource.h>

int main(void)
{
	int shmid = private_segment(4 * PAGE, 0600);
	T(shmctl(shmid, SHM_LOCK, NULL));
	show("locked", shmid);
	T(shmctl(shmid, SHM_LOCK, NULL));
	struct shmid_ds ds = status(shmid);
	ds.shm_perm.mode = 0640;
	T(shmctl(shmid, IPC_SET, &ds));
	show("still locked", shmid);
	T(shmctl(shmid, SHM_UNLOCK, NULL));
	show("unlocked", shmid);
	T(shmctl(shmid, SHM_UNLOCK, (void *)-1));
	T(shmctl(shmid ^ 0x8000, SHM_LOCK, NULL));
	T(shmctl(-1, SHM_UNLOCK, NULL));
	char *at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmctl(shmid, SHM_LOCK, NULL));
	show("marked and locked", shmid);
	T(shmdt(at));
	shmid = private_segment(4 * PAGE, 0600);
	struct rlimit limit = {PAGE, PAGE};
	setrlimit(RLIMIT_MEMLOCK, &limit);
	T(shmctl(shmid, SHM_LOCK, NULL));
	limit.rlim_cur = limit.rlim_max = 0;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	T(shmctl(shmid, SHM_LOCK, NULL));
	T(shmctl(shmid, SHM_UNLOCK, NULL));
	T(shmctl(shmid, IPC_RMID, NULL));
	return 0;
}
