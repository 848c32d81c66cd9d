/* The same, by IPC_SET. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	struct shmid_ds segment;
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	if (id == -1 || shmctl(id, IPC_STAT, &segment) == -1)
		return 1;
	segment.shm_perm.mode = 0604;
	return shmctl(id, IPC_SET, &segment) == -1 || shmctl(id, IPC_RMID, NULL) == -1;
}
