/* A flag and a command that other systems have not. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	struct shminfo limits;
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | SHM_NORESERVE | 0600);
	if (id == -1 || shmctl(0, IPC_INFO, (struct shmid_ds *)&limits) == -1)
		return 1;
	return shmctl(id, IPC_RMID, NULL) == -1;
}
