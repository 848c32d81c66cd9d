/* Creates, attaches, detaches and removes until it is killed; says "on" once it is in the middle. */
#include "../trace.h"

int main(void)
{
	for (long i = 0;; i++) {
		int one = shmget(IPC_PRIVATE, 3 * PAGE, 0600);
		int two = shmget(0x5e000070 + (int)(i % 4), PAGE, IPC_CREAT | 0600);
		void *at = shmat(one, NULL, 0), *other = shmat(two, NULL, SHM_RDONLY);
		shmctl(one, IPC_RMID, NULL);
		if (at != FAILED)
			shmdt(at);
		if (other != FAILED)
			shmdt(other);
		ftok("/proc/self/root/proc/self/root/proc/self/exe", (int)i); /* a record of several slots */
		if (i % 3 == 0)
			shmctl(two, IPC_RMID, NULL);
		if (i == 20)
			puts("on");
	}
}
