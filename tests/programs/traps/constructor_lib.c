/* A library whose constructor runs before all others (-z initfirst) and makes calls. */
#include "../trace.h"

__attribute__((constructor)) static void first(void)
{
	int shmid = shmget(0x5e000051, PAGE, IPC_CREAT | 0600);
	void *at = shmat(shmid, NULL, 0);
	if (at == FAILED || shmdt(at) == -1)
		abort();
}
