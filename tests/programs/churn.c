/* Many records: argv[1] rounds of making, attaching, looking up, detaching and removing a segment. */
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int main(int argc, char **argv)
{
	for (long left = argc > 1 ? atol(argv[1]) : 1; left > 0; left--) {
		int id = shmget(0x5e0000fa, 4096, IPC_CREAT | IPC_EXCL | 0600);
		void *at = shmat(id, NULL, 0);
		if (at == (void *)-1 || shmget(0x5e0000fa, 0, 0600) != id || shmdt(at) == -1 || shmctl(id, IPC_RMID, NULL) == -1)
			return 1;
	}
	return 0;
}
