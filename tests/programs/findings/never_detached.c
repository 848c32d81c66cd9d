/* Ends with a segment attached, which goes with it. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	return shmat(id, NULL, 0) == (void *)-1 || shmctl(id, IPC_RMID, NULL) == -1;
}
