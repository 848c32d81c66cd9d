/* The parent removes what it still holds, and the child comes too late for it. */
#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY 0x5e0000f3

int main(void)
{
	int status = -1, id = shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0600);
	void *at = shmat(id, NULL, 0);
	if (at == (void *)-1 || shmctl(id, IPC_RMID, NULL) == -1)
		return 1;
	if (fork() == 0)
		_exit(shmget(KEY, 4096, 0600) != -1 || errno != ENOENT);
	wait(&status);
	return status != 0 || shmdt(at) == -1;
}
