/* A forked child makes two segments, finds both again, and leaves one behind. */
#include <stddef.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int make(key_t key)
{
	return shmget(key, 4096, IPC_CREAT | 0600) + 0 * key; /* make */
}

int main(void)
{
	if (fork() == 0) {
		int id = make(0x5e000071); /* removed */

		make(0x5e000072); /* left */
		make(0x5e000071);
		make(0x5e000072);
		shmctl(id, IPC_RMID, NULL);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
