/* IPC_SET: what changes and what does not. */
#include "trace.h"

int main(void)
{
	int shmid = (int)T(shmget(0x5e000011, PAGE, IPC_CREAT | 0600));
	struct shmid_ds ds = status(shmid), garbage;
	ds.shm_perm.mode = 0644;
	T(shmctl(shmid, IPC_SET, &ds));
	show("mode", shmid);
	ds.shm_perm.mode = 0xffff;
	T(shmctl(shmid, IPC_SET, &ds));
	show("all bits", shmid);
	/* only uid, gid and mode are taken */
	memset(&garbage, 0x5a, sizeof garbage);
	garbage.shm_perm.uid = geteuid();
	garbage.shm_perm.gid = getegid();
	garbage.shm_perm.mode = 0600;
	T(shmctl(shmid, IPC_SET, &garbage));
	show("the rest is ignored", shmid);
	ds = status(shmid);
	ds.shm_perm.uid = (uid_t)-1;
	T(shmctl(shmid, IPC_SET, &ds));
	ds = status(shmid);
	ds.shm_perm.gid = (gid_t)-1;
	T(shmctl(shmid, IPC_SET, &ds));
	T(shmctl(shmid, IPC_SET, NULL));
	T(shmctl(shmid ^ 0x8000, IPC_SET, NULL));
	ds = status(shmid);
	T(shmctl(shmid ^ 0x8000, IPC_SET, &ds));
	T(shmctl(-1, IPC_SET, NULL));
	/* of a segment marked for removal: SHM_DEST stays */
	char *at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	ds.shm_perm.mode = 0606;
	T(shmctl(shmid, IPC_SET, &ds));
	show("marked", shmid);
	T(shmdt(at));
	T(shmctl(shmid, IPC_SET, &ds));
	return 0;
}
