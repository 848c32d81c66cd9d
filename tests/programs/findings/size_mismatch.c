/* Asks for less than there is, then for more. */
#include <errno.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(0x5e0000f2, 8192, IPC_CREAT | IPC_EXCL | 0600);
	if (id == -1 || shmget(0x5e0000f2, 4096, 0600) != id)
		return 1;
	if (shmget(0x5e0000f2, 16384, 0600) != -1 || errno != EINVAL)
		return 1;
	return shmctl(id, IPC_RMID, NULL) == -1;
}
