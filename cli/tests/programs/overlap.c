/* Three processes, each of which makes, attaches, detaches and removes a segment, again and again, whatever the others have. Usage: overlap ROUNDS */
#include <stdlib.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (int writer = 0; writer < 3; writer++) {
		if (fork())
			continue;
		for (long left = argc > 1 ? atol(argv[1]) : 1; left > 0; left--) {
			int id = shmget(IPC_PRIVATE, 4096, 0600);
			void *at = id == -1 ? (void *)-1 : shmat(id, NULL, 0);
			if (at != (void *)-1)
				shmdt(at);
			if (id != -1)
				shmctl(id, IPC_RMID, NULL);
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
