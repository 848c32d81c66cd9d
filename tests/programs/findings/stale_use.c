/* Cleans up twice, and attaches what it removed itself. */
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static void clean_up(int id, void *at)
{
	shmdt(at);
	shmctl(id, IPC_RMID, NULL);
}

int main(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	void *at = shmat(id, NULL, 0);
	if (at == (void *)-1)
		return 1;
	clean_up(id, at);
	clean_up(id, at);
	return shmat(id, NULL, 0) != (void *)-1;
}
