/* A segment that every user may read and write. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0666);
	return id == -1 || shmctl(id, IPC_RMID, NULL) == -1;
}
