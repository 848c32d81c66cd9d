/* A child detaches what it has inherited, and tries twice to attach again. Usage: detached_by_child COUNT
 *
 * Prints how often it could. */
#include "trace.h"

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, shmid = private_segment(PAGE, 0600), again = 0, how;
	void *at[64];
	for (int i = 0; i < count && i < 64; i++)
		at[i] = shmat(shmid, NULL, 0);
	if (fork() == 0) {
		for (int i = 0; i < count && i < 64; i++)
			shmdt(at[i]);
		for (int i = 0; i < 2; i++)
			again += shmat(shmid, NULL, 0) != FAILED;
		_exit(again);
	}
	wait(&how);
	printf("%d\n", WEXITSTATUS(how));
	shmctl(shmid, IPC_RMID, NULL);
	return 0;
}
