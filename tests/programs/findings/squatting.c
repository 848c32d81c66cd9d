/* Takes what is under the key, whoever made it. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(0x5e0000f1, 4096, IPC_CREAT | 0600);
	return id == -1 || shmctl(id, IPC_RMID, NULL) == -1;
}
