/* As it should be: a server makes a segment under a key, clients attach it and detach, the server removes it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int client(key_t key)
{
	int id = shmget(key, 4096, 0600);
	int *at = id == -1 ? (void *)-1 : shmat(id, NULL, SHM_RDONLY);
	if (at == (void *)-1)
		return 1;
	int value = *at;
	return shmdt(at) == -1 || value != 7;
}

int main(void)
{
	int bad = 0, status;
	/* Cleaning up what was never made is no error ignored. */
	shmctl(-1, IPC_RMID, NULL);
	key_t key = ftok("/", 'C');
	int id = shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600);
	int *at = id == -1 ? (void *)-1 : shmat(id, NULL, 0);
	if (at == (void *)-1)
		return 1;
	*at = 7;
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();
		if (child == 0) {
			/* What it has from its parent goes first. */
			if (shmdt(at) == -1)
				_exit(1);
			_exit(client(key));
		}
		waitpid(child, &status, 0);
		bad |= status;
	}
	/* A key that is taken is no mistake when it is asked for in the right way. */
	if (shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600) != -1 || errno != EEXIST)
		return 1;
	if (shmdt(at) == -1 || shmctl(id, IPC_RMID, NULL) == -1)
		return 1;
	return bad != 0;
}
