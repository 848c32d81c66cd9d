/* Makes a segment and removes it. */
#include <stdio.h>
#include <sys/shm.h>

int main(void)
{
	int shmid = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	if (shmid == -1 || shmctl(shmid, IPC_RMID, NULL) == -1)
		return 1;
	puts("hello");
	return 0;
}
