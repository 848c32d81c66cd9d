/* Takes nine pages of what the test lets it have: ten. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(IPC_PRIVATE, 9 * 4096, IPC_CREAT | 0600);
	return id == -1 || shmctl(id, IPC_RMID, NULL) == -1;
}
