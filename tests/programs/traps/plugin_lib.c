/* A plugin that makes calls, and says whose `probe` it is bound to: with RTLD_DEEPBIND its own. */
#include "../trace.h"

int probe(void);
int probe(void)
{
	return 2;
}

int plugin_calls(void);
int plugin_calls(void)
{
	int (*volatile bound)(void) = probe;
	int shmid = shmget(0x5e000068, PAGE, IPC_CREAT | 0600);
	if (shmid == -1 || shmctl(shmid, IPC_RMID, NULL) == -1)
		return -1;
	return bound();
}
