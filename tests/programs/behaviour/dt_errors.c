/* shmdt takes the start of an attach and nothing else. */
#include "trace.h"

int main(void)
{
	int shmid = private_segment(4 * PAGE, 0600);
	static char own[2 * PAGE] __attribute__((aligned(4096)));
	int local;
	char *at = TP(shmat(shmid, NULL, 0));
	T(shmdt(at + 1));
	T(shmdt(at + PAGE));
	T(shmdt(NULL));
	T(shmdt(own));
	T(shmdt(&local));
	T(shmdt((void *)-1));
	T(shmdt((void *)~0xfffUL));
	show("still attached", shmid);
	T(shmdt(at));
	T(shmdt(at));
	/* a read-only attach, a removed segment */
	at = TP(shmat(shmid, NULL, SHM_RDONLY));
	T(shmdt(at));
	at = TP(shmat(shmid, NULL, 0));
	T(shmctl(shmid, IPC_RMID, NULL));
	T(shmdt(at));
	T(shmdt(at));
	return 0;
}
