/* Two processes leave eight segments each behind, of which one line makes seven. */
#include <stddef.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(void)
{
	for (int i = 0; i < 7; i++)
		shmget(IPC_PRIVATE, 4096 + i, IPC_CREAT | 0600); /* seven */
	shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600); /* one */
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		if (fork() == 0) {
			leave(); /* main */
			_exit(0);
		}
		wait(NULL);
	}
	return 0;
}
