/* Creates a segment and ends. */
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) == -1;
}
