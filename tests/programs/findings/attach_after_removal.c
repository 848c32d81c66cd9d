/* Attaches by id what is marked for removal. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	void *one = shmat(id, NULL, 0);
	if (one == (void *)-1 || shmctl(id, IPC_RMID, NULL) == -1)
		return 1;
	void *other = shmat(id, NULL, 0);
	return other == (void *)-1 || shmdt(other) == -1 || shmdt(one) == -1;
}
